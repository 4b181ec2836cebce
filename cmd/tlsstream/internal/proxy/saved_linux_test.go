package proxy

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// tightSocket is the size in bytes of a buffer that holds as good as nothing.
const tightSocket = 4 << 10

// A bench is a pair with both of its peers, of which one is slow.
type bench struct {
	pair           *pair
	client         *tlsstream.Conn
	front, backend *net.TCPConn // front is beneath client
	ended          chan struct{}
}

// tcpPair returns both ends of a connection. If it is tight, what goes to the end that
// dialled waits at the other: its window is small from the beginning.
func tcpPair(t *testing.T, tight bool) (dialled, accepted *net.TCPConn) {
	t.Helper()
	b := newBackend(t)
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		if !tight {
			return nil
		}
		return c.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, tightSocket)
		})
	}}
	conn, err := dialer.Dial("tcp", b.address())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	t.Cleanup(func() { conn.Close() })
	accepted = b.accept()
	accepted.SetDeadline(time.Time{})
	if tight {
		accepted.SetWriteBuffer(tightSocket)
	}
	return conn.(*net.TCPConn), accepted
}

func newBench(t *testing.T, slow side) *bench {
	t.Helper()
	front, accepted := tcpPair(t, slow == tlsSide)
	backend, plain := tcpPair(t, slow == plainSide)
	w := &wire{TCPConn: accepted}
	b := &bench{
		client: tlsstream.Client(front, testCA.ClientConfig()), front: front, backend: backend,
		pair: &pair{
			tls:  (&tlsstream.Options{CloseTimeout: 200 * time.Millisecond}).Server(w, testCA.ServerConfig()),
			wire: w, plain: plain,
			quiet: never, idle: testTimeout, carried: func(side, int) {}, waited: func() {},
		},
		ended: make(chan struct{}),
	}
	server := make(chan error, 1)
	go func() { server <- b.pair.tls.Handshake() }()
	if err := b.client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-server; err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) run(t *testing.T) {
	go func() {
		defer close(b.ended)
		_ = b.pair.run(t.Context())
	}()
	t.Cleanup(func() { <-b.ended })
}

// delivered waits until everything written to conn lies in its peer's kernel.
func delivered(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(time.Millisecond) {
		pending, _ := undelivered(conn)
		if !pending {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not delivered")
		}
	}
}

// What the plain side said before it was reset is saved, though the TLS peer is slow to
// take it, and though it is a write that finds the reset.
func TestLastWordsAreSaved(t *testing.T) {
	b := newBench(t, tlsSide)
	b.run(t)
	answer := string(pattern(48 << 10))
	mustWrite(t, b.backend, answer)
	delivered(t, b.backend) // and most of it is waiting in the proxy's kernel
	reset(b.backend)
	for range 20 { // the write that finds out is one of these
		b.client.Write([]byte("more"))
		time.Sleep(5 * time.Millisecond)
	}
	expect(t, b.client, answer)
	expectAlert(t, b.client, tlsstream.AlertInternalError)
}

// What the TLS peer had sent before it was reset is saved, and its close_notify, though
// the backend is slow to take it, and though it is a write that finds the reset.
func TestUploadOfAPeerThatIsGoneIsSaved(t *testing.T) {
	b := newBench(t, plainSide)
	b.run(t)
	upload := string(pattern(48 << 10))
	mustWrite(t, b.client, upload)
	if err := b.client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	delivered(t, b.front)
	mustWrite(t, b.backend, "never read")
	delivered(t, b.backend)
	reset(b.front)
	for range 64 { // a write that finds out is among these; and none may block
		mustWrite(t, b.backend, string(pattern(256<<10)))
	}
	expect(t, b.backend, upload)
	expectEnd(t, b.backend, io.EOF)
}

// A TLS peer that does not even take its alert is reset: a bare FIN passes for the end with
// too many programs.
func TestPeerThatDoesNotTakeItsAlertIsReset(t *testing.T) {
	b := newBench(t, tlsSide)
	b.run(t)
	mustWrite(t, b.backend, string(pattern(48<<10)))
	delivered(t, b.backend)
	reset(b.backend)
	b.client.Write([]byte("more"))
	b.client.Write([]byte("and more"))
	<-b.ended
	if n, err := io.Copy(io.Discard, b.client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes and %v, want a reset", n, err)
	}
}
