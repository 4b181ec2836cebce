package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A faultyConn is a connection to nowhere: its calls fail as it says.
type faultyConn struct {
	net.Conn          // its addresses
	readErr, writeErr error
}

func newFaultyConn(t *testing.T, readErr, writeErr error) *faultyConn {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return &faultyConn{ours, readErr, writeErr}
}

func (c *faultyConn) Read(p []byte) (int, error) { return 0, c.readErr }

func (c *faultyConn) Write(p []byte) (int, error) {
	if c.writeErr != nil {
		return 0, c.writeErr
	}
	return len(p), nil
}

func sysError(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, errno)}
}

// A kernel reports a reset once. If it was told to the ClientHello's write, what
// the read after it sees is the end of the stream.
func TestHandshakeReportsTheResetThatItsWriteMet(t *testing.T) {
	conn := tlsstream.Client(newFaultyConn(t, io.EOF, sysError("write", syscall.ECONNRESET)), endCA.ClientConfig())
	defer conn.Close()
	if err := conn.Handshake(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

// ETIMEDOUT is what a kernel says of a peer that has not answered for minutes. It
// calls itself a timeout, and no later deadline helps.
func TestDeadPeerIsNoDeadline(t *testing.T) {
	dead := sysError("read", syscall.ETIMEDOUT)
	conn := tlsstream.Client(newFaultyConn(t, dead, nil), endCA.ClientConfig())
	defer conn.Close()
	var h *tlsstream.HandshakeError
	err := conn.Handshake()
	if !errors.As(err, &h) || h.Timeout() || !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("got %v", err)
	}
	if again := conn.Handshake(); again != err {
		t.Errorf("the second call returned %v", again)
	}
}

// A client whose last flight cannot leave, because the server has given up, is
// told why the server has.
func TestServersAlertWinsOverTheLastFlight(t *testing.T) {
	clientConn, serverConn := tlstest.TCPPair(t)
	broken := &brokenConn{TCPConn: clientConn}
	client := tlsstream.Client(broken, endCA.ClientConfig())
	defer client.Close()
	server := tlsstream.NewServerEngine(endCA.ServerConfig())
	gone := make(chan error, 1)
	go func() {
		gone <- func() error {
			hello, err := readRecord(serverConn)
			if err != nil {
				return err
			}
			server.Feed(hello)
			if err := server.Handshake(); !errors.Is(err, tlsstream.ErrWantRead) {
				return err
			}
			// It changes its mind before the client answers.
			if err := server.Abort(tlsstream.AlertInternalError); err != nil {
				return err
			}
			broken.breakWith(syscall.EPIPE)
			_, err = server.WriteTo(serverConn)
			return err
		}()
	}()
	err := client.Handshake()
	if peerErr := <-gone; peerErr != nil {
		t.Fatal(peerErr)
	}
	var h *tlsstream.HandshakeError
	if !errors.As(err, &h) || !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("got %v", err)
	}
	got := wantHandshake{Stage: h.Stage, Alert: alertIn(err).Alert, Remote: alertIn(err).Remote}
	want := wantHandshake{Stage: tlsstream.StageFinished, Alert: tlsstream.AlertInternalError, Remote: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

// A peer that takes nothing more is not one that sends nothing.
func TestTimeoutOfTheLastFlightIsOneOfSending(t *testing.T) {
	clientConn, serverConn := net.Pipe()
	defer serverConn.Close()
	client := tlsstream.Client(clientConn, endCA.ClientConfig())
	defer client.Close()
	sent := make(chan error, 1)
	go func() {
		engine := tlsstream.NewServerEngine(endCA.ServerConfig())
		defer engine.Close()
		hello, err := readRecord(serverConn)
		engine.Feed(hello)
		engine.Handshake()
		engine.WriteTo(serverConn)
		client.SetWriteDeadline(time.Now())
		sent <- err // and reads no more
	}()
	err := client.Handshake()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	var h *tlsstream.HandshakeError
	if !errors.As(err, &h) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if h.Stage != tlsstream.StageFinished || !strings.Contains(h.Hint, "sending") {
		t.Errorf("got %v", err)
	}
	if !h.Timeout() || !h.Temporary() {
		t.Error("not a timeout that can be tried again")
	}
}

// An Engine has no peer address, and the same errors.
func TestEngineHandshakeErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		engine *tlsstream.Engine
		feed   func(*tlsstream.Engine)
		want   wantHandshake
		is     error
	}{
		{"cut", tlsstream.NewServerEngine(endCA.ServerConfig()), func(e *tlsstream.Engine) { e.Feed([]byte{22, 3, 1}); e.FeedEOF() },
			wantHandshake{Stage: tlsstream.StageHelloReceived}, io.ErrUnexpectedEOF},
		{"refused", tlsstream.NewClientEngine(endCA.ClientConfig()), func(e *tlsstream.Engine) { e.Feed([]byte{21, 3, 3, 0, 2, 2, 112}) },
			wantHandshake{Stage: tlsstream.StageHelloSent, Alert: tlsstream.AlertUnrecognizedName, Remote: true}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer c.engine.Close()
			if err := c.engine.Handshake(); err != tlsstream.ErrWantRead {
				t.Fatal(err)
			}
			c.feed(c.engine)
			_, err := c.engine.Read(make([]byte, 1))
			var h *tlsstream.HandshakeError
			if !errors.As(err, &h) || h.Remote != nil || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("got %v", err)
			}
			got := wantHandshake{Stage: h.Stage, Alert: alertIn(err).Alert, Remote: alertIn(err).Remote}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
}

// The control: crypto/tls says io.EOF of a stream that was cut in the handshake,
// and its errors are of no type that tells an alert.
func TestStockErrorsDoNotTell(t *testing.T) {
	t.Run("cut", func(t *testing.T) {
		clientConn, serverConn := tlstest.TCPPair(t)
		go func() {
			readRecord(serverConn)
			serverConn.Close()
		}()
		if err := tls.Client(clientConn, endCA.ClientConfig()).Handshake(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		clientConn, serverConn := tlstest.TCPPair(t)
		go tls.Server(serverConn, endCA.ServerConfig()).Handshake()
		config := endCA.ClientConfig()
		strangeCA(config, nil)
		var alert tls.AlertError
		if err := tls.Client(clientConn, config).Handshake(); err == nil || errors.As(err, &alert) {
			t.Errorf("got %v", err)
		}
	})
}
