package tlsstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// An uploadSink is a server of somebody else's that takes an upload slowly and
// sends tickets. start makes it ready for one upload, until the test ends: dial
// addr, then take the result.
type uploadSink struct {
	name  string
	start func(t *testing.T) (addr string, result <-chan uploaded)
}

// uploaded is how much of an upload has come.
type uploaded struct {
	n   int
	err error // what ended it; nil for close_notify, or for the end of a program's output
}

func uploadSinks() []uploadSink {
	return []uploadSink{
		{"go-RequestClientCert", goSink(0)},
		{"go-late-ticket", goSink(300 * time.Millisecond)},
		{"openssl-s_server", opensslSink},
		{"nginx-stream", nginxSink},
	}
}

// uploadConfig is the client's: it asks for tickets, and has a certificate.
func uploadConfig() *tls.Config {
	config := endCA.ClientConfig()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	config.Certificates = []tls.Certificate{endCA.Client("alice")}
	return config
}

// slowly reads r to its end: it waits 200 ms, then 1 ms for each 16 KiB. That is
// the load, not a way to wait for something.
func slowly(r io.Reader) uploaded {
	time.Sleep(200 * time.Millisecond)
	buf := make([]byte, 16<<10)
	check := uploadCheck{}
	for {
		n, err := r.Read(buf)
		if !check.take(buf[:n]) {
			return uploaded{check.n, fmt.Errorf("wrong bytes behind %d right ones", check.n)}
		}
		if err == io.EOF {
			return uploaded{n: check.n}
		}
		if err != nil {
			return uploaded{check.n, err}
		}
		time.Sleep(time.Duration(n) * time.Millisecond / (16 << 10))
	}
}

// uploadPeriod is a prime, so that no whole number of records or buffers can be
// missing from the middle unseen.
const uploadPeriod = 251

// uploadData returns n bytes: byte i is i % uploadPeriod.
func uploadData(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i % uploadPeriod)
	}
	return p
}

// An uploadCheck counts the bytes of uploadData that it is given.
type uploadCheck struct{ n int }

func (c *uploadCheck) take(p []byte) bool {
	for i, b := range p {
		if b != byte((c.n+i)%uploadPeriod) {
			c.n += i
			return false
		}
	}
	c.n += len(p)
	return true
}

// goSink is crypto/tls: with a client certificate it sends its ticket after the
// client's last flight, and after what VerifyConnection takes.
func goSink(verify time.Duration) func(*testing.T) (string, <-chan uploaded) {
	return func(t *testing.T) (string, <-chan uploaded) {
		config := endCA.ServerConfig()
		config.ClientAuth = tls.RequestClientCert
		config.VerifyConnection = func(tls.ConnectionState) error {
			time.Sleep(verify)
			return nil
		}
		return listeningSink(t, func(conn net.Conn) uploaded { return slowly(tls.Server(conn, config)) })
	}
}

// listeningSink takes one upload with receive.
func listeningSink(t *testing.T, receive func(net.Conn) uploaded) (string, <-chan uploaded) {
	l := endListen(t)
	result := make(chan uploaded, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			result <- uploaded{err: err}
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(endPatience))
		result <- receive(conn)
	}()
	return l.Addr().String(), result
}

// endProgram starts a program that is killed when the test ends, or when it
// takes too long. It returns its output, or its error output.
func endProgram(t *testing.T, stderr bool, name string, args ...string) *bufio.Reader {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		tlstest.Missing(t, "%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*endPatience)
	cmd := exec.CommandContext(ctx, path, args...)
	stdin, inErr := cmd.StdinPipe() // openssl ends at its end
	out, outErr := cmd.StdoutPipe()
	if stderr {
		cmd.Stdout = nil
		out, outErr = cmd.StderrPipe()
	}
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cancel()
		cmd.Wait()
	})
	return bufio.NewReaderSize(out, 1<<10)
}

// lineWith reads lines up to one that has what in it.
func lineWith(t *testing.T, r *bufio.Reader, what string) string {
	t.Helper()
	var before strings.Builder
	for {
		line, err := r.ReadString('\n')
		if strings.Contains(line, what) {
			return line
		}
		before.WriteString(line)
		if err != nil {
			t.Fatalf("no %q but %q: %v", what, &before, err)
		}
	}
}

// opensslSink is openssl s_server, whose output is read slowly. It sends two
// tickets.
func opensslSink(t *testing.T) (string, <-chan uploaded) {
	_, cert, key, err := endCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out := endProgram(t, false, "openssl", "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-tls1_3", "-cert", cert, "-key", key)
	addr := strings.TrimSpace(strings.TrimPrefix(lineWith(t, out, "ACCEPT"), "ACCEPT "))
	result := make(chan uploaded, 1)
	go func() {
		// The data is in the middle of what it prints, and does not look like it.
		for {
			p, err := out.Peek(len(uploadStart))
			if err != nil || bytes.Equal(p, uploadStart) {
				break
			}
			out.Discard(1)
		}
		u := slowly(out)
		u.err = nil // the text behind the data, if any came
		result <- u
	}()
	return addr, result
}

var uploadStart = uploadData(16)

// nginxSink is nginx as a TLS terminator in front of a slow server of bytes. It
// sends two tickets.
func nginxSink(t *testing.T) (string, <-chan uploaded) {
	backend, result := listeningSink(t, func(conn net.Conn) uploaded { return slowly(conn) })
	dir := t.TempDir()
	_, cert, key, err := endCA.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`%s
daemon off;
master_process off;
pid %s;
error_log stderr notice;
events {}
stream {
	server {
		listen 127.0.0.1:%s ssl;
		ssl_protocols TLSv1.3;
		ssl_certificate %s;
		ssl_certificate_key %s;
		ssl_session_tickets on;
		proxy_pass %s;
	}
}
`, loadStream(t), filepath.Join(dir, "nginx.pid"), port, cert, key, backend)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := endProgram(t, true, "nginx", "-p", dir, "-c", config, "-e", "stderr")
	lineWith(t, log, "event method") // it listens by now
	go io.Copy(io.Discard, log)
	return "127.0.0.1:" + port, result
}

// loadStream is the directive that loads nginx's stream module, if it must be
// loaded. It skips the test if there is none.
func loadStream(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nginx", "-V").CombinedOutput()
	if err != nil {
		tlstest.Missing(t, "nginx -V: %v", err)
	}
	if !bytes.Contains(out, []byte("--with-stream=dynamic")) {
		if !bytes.Contains(out, []byte("--with-stream")) {
			tlstest.Missing(t, "this nginx has no stream module")
		}
		return ""
	}
	_, after, _ := bytes.Cut(out, []byte("--modules-path="))
	folder, _, _ := bytes.Cut(after, []byte(" "))
	module := filepath.Join(string(folder), "ngx_stream_module.so")
	if _, err := os.Stat(module); err != nil {
		tlstest.Missing(t, "nginx's stream module is not installed: %v", err)
	}
	return "load_module " + module + ";"
}

// freePort returns a port that nobody listened on a moment ago, for a program
// that cannot choose one and say which.
func freePort(t *testing.T) string {
	t.Helper()
	l := endListen(t)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
