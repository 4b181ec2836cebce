package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

func TestConnectionsOverTheLimitWait(t *testing.T) {
	var log tlstest.Buffer
	config := testConfig(greet(t, "hello"))
	config.MaxConnections, config.End = 2, EndLast // so that they last
	config.Log = slog.New(slog.NewTextHandler(&log, nil))
	r := start(t, config)
	var open []*tlsstream.Conn
	for range 2 {
		conn := r.dial(t)
		expect(t, conn, "hello")
		open = append(open, conn)
	}
	third, err := net.Dial("tcp", r.address) // the kernel takes it
	if err != nil {
		t.Fatal(err)
	}
	client := tls.Client(third, testCA.ClientConfig())
	third.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if err := client.Handshake(); !isTimeout(err) {
		t.Errorf("a third connection is served: %v", err)
	}
	third.Close()
	if !strings.Contains(log.String(), "connection limit reached") {
		t.Errorf("the log says: %s", log.String())
	}
	open[0].CloseWrite()
	expectEnd(t, open[0], io.EOF)
	expect(t, r.dial(t), "hello")
}

func TestHandshakeTimeout(t *testing.T) {
	config := testConfig(greet(t, "hello"))
	config.HandshakeTimeout = 100 * time.Millisecond
	expectEnd(t, start(t, config).dialPlain(t), io.EOF)

	silent := newBackend(t)
	config = originating(silent.address())
	config.HandshakeTimeout = 100 * time.Millisecond
	expectReset(t, start(t, config).dialPlain(t))
}

// Drain lets connections end, and cuts those that do not, as errors on both sides.
func TestDrain(t *testing.T) {
	b := newBackend(t)
	r := start(t, testConfig(b.address()))
	ending, ended := r.dial(t), b.accept()
	staying, stayed := r.dial(t), b.accept()
	r.Stop()
	if conn, err := tls.Dial("tcp", r.address, testCA.ClientConfig()); err == nil {
		conn.Close()
		t.Error("still accepting")
	}
	drained := make(chan int, 1)
	go func() { drained <- r.drain(time.Second) }()
	mustWrite(t, ending, "bye")
	ending.CloseWrite()
	expect(t, ended, "bye")
	expectEnd(t, ended, io.EOF)
	ended.CloseWrite()
	expectEnd(t, ending, io.EOF)

	expectAlert(t, staying, tlsstream.AlertInternalError)
	expectReset(t, stayed)
	if cut := <-drained; cut != 1 {
		t.Errorf("%d connections were cut, want 1", cut)
	}
}

// Whatever a peer does in the handshake, a drain ends.
func TestDrainCutsAHandshake(t *testing.T) {
	r := start(t, testConfig(greet(t, "hello")))
	conn := r.dialPlain(t)
	mustWrite(t, conn, "\x16\x03\x01\x02\x00\x01")
	for deadline := time.Now().Add(testTimeout); len(r.slots) < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not accepted")
		}
	}
	r.Stop()
	if cut := r.drain(0); cut != 1 {
		t.Errorf("%d connections were cut, want 1", cut)
	}
}

func TestMetrics(t *testing.T) {
	config := testConfig(greet(t, "hello"))
	config.Metrics.WatchCertificate(func() time.Time { return time.Unix(1234567890, 0) })
	r := start(t, config)
	conn := r.dial(t)
	mustWrite(t, conn, "request")
	expect(t, conn, "hello")
	conn.CloseWrite()
	expectEnd(t, conn, io.EOF)
	bad := r.dialPlain(t)
	mustWrite(t, bad, "this is not TLS\r\n\r\n")
	io.Copy(io.Discard, bad)
	r.Stop()
	if cut := r.drain(testTimeout); cut > 0 {
		t.Fatalf("%d connections did not end", cut)
	}
	page := httptest.NewRecorder()
	config.Metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`tlsstream_proxy_connections 0`,
		`tlsstream_proxy_connections_ended_total{outcome="done"} 1`,
		`tlsstream_proxy_connections_ended_total{outcome="handshake_failed"} 1`,
		`tlsstream_proxy_connections_ended_total{outcome="plain_failed"} 0`,
		`tlsstream_proxy_received_bytes_total{side="tls"} 7`,
		`tlsstream_proxy_received_bytes_total{side="plain"} 5`,
		`tlsstream_proxy_certificate_not_after_seconds 1.23456789e+09`,
		`tlsstream_proxy_handshake_seconds_count 1`,
		`process_resident_memory_bytes `,
	} {
		if !strings.Contains(page.Body.String(), "\n"+want) {
			t.Errorf("%q is missing", want)
		}
	}
	page = httptest.NewRecorder()
	config.Metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/debug/pprof/goroutine?debug=1", nil))
	if !strings.Contains(page.Body.String(), "goroutine profile:") {
		t.Error("no pprof")
	}
}

// An error of Accept that passes does not end the server.
func TestAcceptIsTriedAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(testConfig(greet(t, "hello")))
	served := make(chan error, 1)
	go func() { served <- s.Serve(&moody{Listener: l}) }()
	conn, err := tls.Dial("tcp", l.Addr().String(), testCA.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	expect(t, conn, "hello")
	l.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	s.Stop()
	conn.Close()
	r := running{Server: s}
	if cut := r.drain(testTimeout); cut > 0 {
		t.Error("a connection did not end")
	}
}

// A moody listener fails at first.
type moody struct {
	net.Listener
	calls int
}

func (m *moody) Accept() (net.Conn, error) {
	if m.calls++; m.calls <= 3 {
		return nil, errors.New("too many open files")
	}
	return m.Listener.Accept()
}
