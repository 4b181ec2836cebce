package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTimeout bounds what a test waits for. It is reached only if something hangs, so
// it is generous: the machine may be busy.
const testTimeout = 30 * time.Second

var testCA = tlstest.NewCA()

// A backend is a listener whose connections a test takes one by one.
type backend struct {
	*net.TCPListener
	t *testing.T
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &backend{l.(*net.TCPListener), t}
}

func (b *backend) accept() *net.TCPConn {
	b.t.Helper()
	b.SetDeadline(time.Now().Add(testTimeout))
	conn, err := b.AcceptTCP()
	if err != nil {
		b.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

func (b *backend) address() string { return b.Addr().String() }

// testConfig is a Config for a terminating server in front of to.
func testConfig(to string) Config {
	return Config{
		TLS: testCA.ServerConfig(), To: to,
		Quiet: 300 * time.Millisecond, MaxConnections: 100,
		IdleTimeout: testTimeout, HandshakeTimeout: testTimeout, DialTimeout: testTimeout,
		Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(),
	}
}

// originating is a Config for a server that speaks TLS to the backend.
func originating(to string) Config {
	config := testConfig(to)
	config.Originate = true
	config.TLS = testCA.ClientConfig()
	return config
}

// A running is a server that lives as long as the test.
type running struct {
	*Server
	address string
	served  chan error
}

func start(t *testing.T, config Config) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{New(config), l.Addr().String(), make(chan error, 1)}
	go func() { r.served <- r.Serve(l) }()
	t.Cleanup(func() {
		r.Stop()
		r.drain(0) // what a test leaves open
		if err := <-r.served; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *running) drain(within time.Duration) (cut int) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return r.Drain(ctx)
}

// dial connects a client of this module's own, whose errors tell the endings apart.
func (r *running) dial(t *testing.T, configs ...*tls.Config) *tlsstream.Conn {
	t.Helper()
	config := testCA.ClientConfig()
	if len(configs) > 0 {
		config = configs[0]
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	conn, err := (&tlsstream.Dialer{Config: config}).DialStream(ctx, "tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	t.Cleanup(func() { conn.NetConn().Close() })
	return conn
}

func (r *running) dialPlain(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func mustWrite(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// expect reads text from r, and no more.
func expect(t *testing.T, r io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(r, got)
	if err != nil || string(got) != text {
		const enough = 40
		t.Fatalf("read %d bytes, %.*q, and %v; want %d, %.*q", n, enough, got[:n], err, len(text), enough, text)
	}
}

// expectEnd reads to the end of the stream, which must come now and be want.
func expectEnd(t *testing.T, r io.Reader, want error) {
	t.Helper()
	n, err := r.Read(make([]byte, 1))
	if n > 0 || !errors.Is(err, want) {
		t.Fatalf("%d more bytes and %v, want %v", n, err, want)
	}
}

func expectReset(t *testing.T, r io.Reader) {
	t.Helper()
	expectEnd(t, r, syscall.ECONNRESET)
}

func expectAlert(t *testing.T, r io.Reader, want tlsstream.Alert) {
	t.Helper()
	n, err := r.Read(make([]byte, 1))
	if n > 0 {
		t.Fatalf("%d more bytes and %v, want the alert %v", n, err, want)
	}
	alertIs(t, err, want)
}

// pattern returns n bytes. A prime period, so that no whole record can be missing from
// the middle unseen.
func pattern(n int) []byte {
	const period = 251
	unit := make([]byte, period)
	for i := range unit {
		unit[i] = byte(i)
	}
	return bytes.Repeat(unit, n/period+1)[:n]
}

func alertIs(t *testing.T, err error, want tlsstream.Alert) {
	t.Helper()
	alert, ok := errors.AsType[*tlsstream.AlertError](err)
	if !ok || !alert.Remote || alert.Alert != want {
		t.Fatalf("%v, want the alert %v", err, want)
	}
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// A drip is a connection that, once slow, sends a byte a millisecond.
type drip struct {
	net.Conn
	slow atomic.Bool
}

func (d *drip) Write(p []byte) (int, error) {
	if !d.slow.Load() {
		return d.Conn.Write(p)
	}
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(time.Millisecond)
	}
	return len(p), nil
}

// tlsClient makes a handshake over conn.
func tlsClient(t *testing.T, conn net.Conn) *tls.Conn {
	t.Helper()
	client := tls.Client(conn, testCA.ClientConfig())
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return client
}
