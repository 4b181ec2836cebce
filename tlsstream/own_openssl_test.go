package tlsstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// The suites of TLS 1.3 that crypto/tls has. It lets nobody choose; OpenSSL does.
var ownSuites = []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}

// An opensslTool is openssl s_client or s_server, in the mode in which a line that begins with K
// or k is a command: KeyUpdate, with and without a request for ours.
type opensslTool struct {
	stdin io.Writer
	lines chan string // of its output
	end   func()      // closes its standard input, and waits for it
}

func startOpenSSL(t *testing.T, args ...string) *opensslTool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
	cmd := exec.CommandContext(ctx, tlstest.Program(t, "openssl"), args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tool := &opensslTool{stdin: stdin, lines: make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(tool.lines)
		for s := bufio.NewScanner(reader); s.Scan(); {
			tool.lines <- s.Text()
		}
	}()
	tool.end = sync.OnceFunc(func() {
		stdin.Close()
		go func() {
			cmd.Wait()
			writer.Close()
		}()
		for range tool.lines {
		}
		<-done
	})
	t.Cleanup(func() {
		cancel()
		tool.end()
	})
	return tool
}

// await waits for a line that contains text.
func (o *opensslTool) await(t *testing.T, text string) string {
	t.Helper()
	var seen []string
	for line := range o.lines {
		if strings.Contains(line, text) {
			return line
		}
		seen = append(seen, line)
	}
	t.Fatalf("openssl does not say %q:\n%s", text, strings.Join(seen, "\n"))
	return ""
}

func (o *opensslTool) say(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		// One at a time: it looks for a command at the beginning of what it reads.
		if _, err := io.WriteString(o.stdin, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// talkToOpenSSL has lines go both ways, with KeyUpdates of both sides in between.
func talkToOpenSSL(t *testing.T, tool *opensslTool, conn *tlsstream.Conn, suite, commands string) {
	t.Helper()
	if got := tls.CipherSuiteName(conn.ConnectionState().CipherSuite); got != suite {
		t.Fatalf("the suite is %s, want %s", got, suite)
	}
	if s := conn.Stats().OwnRecords; s != tlsstream.OwnRecordsOn {
		t.Fatalf("OwnRecords is %v", s)
	}
	conn.SetDeadline(time.Now().Add(realTimeout))
	heard := make(chan string, 100)
	go func() { // all the time: KeyUpdates come between the lines
		defer close(heard)
		for s := bufio.NewScanner(conn); s.Scan(); {
			heard <- s.Text()
		}
	}()
	hear := func(want string) {
		t.Helper()
		if line, ok := <-heard; !ok || line != want {
			t.Fatalf("read %q, %v, want %q", line, conn.Err(), want)
		}
	}
	asked := int64(0)
	for _, command := range " " + commands + " " {
		tool.say(t, "a line")
		hear("a line")
		for range 20 {
			if _, err := conn.Write([]byte("one of many\n")); err != nil {
				t.Fatal(err)
			}
			tool.await(t, "one of many")
		}
		switch command {
		case 'K': // s_server does not say that it has done it
			asked++
			tool.say(t, "K")
			for deadline := time.Now().Add(20 * time.Second); conn.Stats().KeyUpdates < asked && conn.Err() == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("s_server has not asked for keys")
				}
			}
		case 'k':
			tool.say(t, "k")
			tool.await(t, "KEYUPDATE")
		}
	}
	big := append(bytes.Repeat([]byte("0123456789abcdef\n"), 20_000), "the end\n"...)
	if _, err := conn.Write(big); err != nil {
		t.Fatal(err)
	}
	tool.await(t, "the end")
}

func TestOwnRecordsWithOpenSSLServer(t *testing.T) {
	t.Parallel()
	_, certFile, keyFile, err := testCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range ownSuites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			tool := startOpenSSL(t, "s_server", "-accept", "127.0.0.1:0", "-cert", certFile, "-key", keyFile, "-ciphersuites", suite)
			addr := strings.TrimPrefix(tool.await(t, "ACCEPT "), "ACCEPT ")
			config := testCA.ClientConfig()
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			o := &tlsstream.Options{OwnRecords: true}
			o.SetUpdateAfter(10)
			for _, resumed := range []bool{false, true} {
				tcp, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				conn := o.Client(tcp, config)
				if err := conn.Handshake(); err != nil {
					t.Fatal(err)
				}
				if got := conn.ConnectionState().DidResume; got != resumed {
					t.Errorf("resumed is %v, want %v", got, resumed)
				}
				talkToOpenSSL(t, tool, conn, suite, "KK")
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestOwnRecordsWithOpenSSLClient(t *testing.T) {
	t.Parallel()
	for _, suite := range ownSuites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			session := filepath.Join(t.TempDir(), "session")
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			config := testCA.ServerConfig()
			o := &tlsstream.Options{OwnRecords: true}
			o.SetUpdateAfter(10)
			for _, resumed := range []bool{false, true} {
				args := []string{"s_client", "-connect", ln.Addr().String(), "-ciphersuites", suite, "-sess_out", session}
				if resumed {
					if _, err := os.Stat(session); err != nil {
						t.Fatal(err)
					}
					args = append(args, "-sess_in", session)
				}
				tool := startOpenSSL(t, args...)
				tcp, err := ln.Accept()
				if err != nil {
					t.Fatal(err)
				}
				conn := o.Server(tcp, config)
				if err := conn.Handshake(); err != nil {
					t.Fatal(err)
				}
				if got := conn.ConnectionState().DidResume; got != resumed {
					t.Errorf("resumed is %v, want %v", got, resumed)
				}
				talkToOpenSSL(t, tool, conn, suite, "kKkK")
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				tool.end() // then the session is in the file
			}
		})
	}
}
