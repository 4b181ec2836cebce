package tlsstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// crypto/tls lets nobody choose among the suites of TLS 1.3, but clients offer those they like.
func TestAbortIsSealedInEverySuite(t *testing.T) {
	suites := []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
	for _, stream := range []bool{true, false} {
		chosen := make(chan string, len(suites))
		s := serveClients(t, listenClients(t, tlsstream.Options{}, abortCA.ServerConfig(), stream), func(c net.Conn) {
			answer(c)
			chosen <- tls.CipherSuiteName(c.(abortable).ConnectionState().CipherSuite)
		})
		for _, suite := range suites {
			end := runClient(t, s.request(clientPath{"eof", "abort"}), tlstest.Program(t, "openssl"),
				"s_client", "-quiet", "-verify_return_error", "-CAfile", s.caFile, "-connect", s.addr(), "-ciphersuites", suite)
			want := clientEnd{1, "SSL alert number 80"}
			if diff := cmp.Diff(want, end.got(want)); diff != "" {
				t.Errorf("%s, *Conn: %v, -want +got:\n%s", suite, stream, diff)
			}
			if got := <-chosen; got != suite {
				t.Errorf("the suite is %s, want %s", got, suite)
			}
		}
	}
}

// An opensslServer is openssl s_server, for one connection.
type opensslServer struct {
	addr   string
	output *bytes.Buffer // complete after ended
	ended  chan struct{}
}

func startOpenSSLServer(t *testing.T, args ...string) opensslServer {
	t.Helper()
	_, certFile, keyFile, err := abortCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	cmd := exec.CommandContext(ctx, tlstest.Program(t, "openssl"), append([]string{"s_server",
		"-accept", "127.0.0.1:0", "-naccept", "1", "-cert", certFile, "-key", keyFile}, args...)...)
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	stdin, err := cmd.StdinPipe() // at its end the server ends
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := opensslServer{output: &bytes.Buffer{}, ended: make(chan struct{})}
	lines := bufio.NewReader(reader)
	go func() {
		cmd.Wait()
		writer.Close()
	}()
	t.Cleanup(func() {
		cancel()
		<-s.ended
		stdin.Close()
	})
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			close(s.ended)
			t.Fatalf("openssl s_server ended before it accepted: %s", s.output)
		}
		s.output.WriteString(line)
		if addr, ok := strings.CutPrefix(strings.TrimSpace(line), "ACCEPT "); ok {
			s.addr = addr
			break
		}
	}
	go func() {
		defer close(s.ended)
		io.Copy(s.output, lines)
	}()
	return s
}

// A server on OpenSSL reads the alert of our client in every state: it takes one in the clear too, where the client
// has not received its ServerHello.
func TestOpenSSLServerReportsAnAbort(t *testing.T) {
	for name, received := range map[string]int{
		"nothing received":         0,
		"half a ServerHello":       50,
		"ServerHello":              150,
		"in the midst of a flight": 400,
		"after the handshake":      -1,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startOpenSSLServer(t)
			tcp, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			valve := newAbortValve(tcp.(*net.TCPConn), received, -1)
			c := tlsstream.Client(valve, abortCA.ClientConfig())
			defer c.Close()
			c.SetDeadline(time.Now().Add(abortPatience))
			if received < 0 {
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
			} else {
				shaken := make(chan error, 1)
				go func() { shaken <- c.Handshake() }()
				defer func() { wantAborted(t, "Handshake", <-shaken, tlsstream.AlertInternalError) }()
				<-valve.in.blocked
			}
			if err := c.Abort(tlsstream.AlertInternalError); err != nil {
				t.Error(err)
			}
			<-s.ended
			if !strings.Contains(s.output.String(), "SSL alert number 80") {
				t.Errorf("openssl s_server says:\n%s", s.output)
			}
		})
	}
}
