package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// newClogged returns a server whose transport takes no more, with the given
// options, in a bubble.
func newClogged(t *testing.T, o tlsstream.Options) *tlsstream.Conn {
	t.Helper()
	s := streamStack
	s.server = func(c net.Conn, config *tls.Config) secureConn { return o.Server(c, config) }
	_, server := newRequester(t, s, narrowBack)
	clog(t, server)
	return server.(*tlsstream.Conn)
}

// Close waits for a peer that does not read, but not for ever: CloseTimeout long,
// 5 seconds if that is zero, and not past the write deadline.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		timeout       time.Duration
		writeDeadline time.Duration // from now on; 0 for none
		want          time.Duration
	}{
		{"default", 0, 0, 5 * time.Second},
		{"CloseTimeout", 100 * time.Millisecond, 0, 100 * time.Millisecond},
		{"long CloseTimeout", time.Hour, 0, time.Hour},
		{"write deadline", time.Hour, 3 * time.Second, 3 * time.Second},
		{"late write deadline", time.Second, 3 * time.Second, time.Second},
		{"past write deadline", time.Hour, -time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newClogged(t, tlsstream.Options{CloseTimeout: c.timeout})
				if c.writeDeadline != 0 {
					server.SetWriteDeadline(time.Now().Add(c.writeDeadline))
				}
				mustTake(t, "Close", c.want, func() {
					if err := server.Close(); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("Close: %v", err)
					}
				})
				mustTake(t, "the second Close", 0, func() {
					if err := server.Close(); !errors.Is(err, net.ErrClosed) {
						t.Errorf("the second Close: %v", err)
					}
				})
				if _, err := server.NetConn().Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
					t.Errorf("the transport is open: Write: %v", err)
				}
			})
		})
	}
}

// A write deadline that is set while Close waits cannot make it wait longer.
func TestCloseIsBoundedWhateverDeadlineIsSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newClogged(t, tlsstream.Options{CloseTimeout: 10 * time.Second})
		time.AfterFunc(time.Second, func() { server.SetDeadline(time.Now().Add(time.Hour)) })
		time.AfterFunc(2*time.Second, func() { server.SetDeadline(time.Time{}) })
		mustTake(t, "Close", 10*time.Second, func() { server.Close() })
	})
	synctest.Test(t, func(t *testing.T) {
		server := newClogged(t, tlsstream.Options{CloseTimeout: 10 * time.Second})
		time.AfterFunc(time.Second, func() { server.SetDeadline(longAgo) })
		mustTake(t, "Close", time.Second, func() { server.Close() })
	})
}

// Close from another goroutine ends every call that is blocked, at once.
func TestCloseEndsBlockedCalls(t *testing.T) {
	t.Parallel()
	byte1 := make([]byte, 1)
	for _, c := range []struct {
		name    string
		clogged bool
		call    func(*tlsstream.Conn) error
	}{
		{"Read", false, func(c *tlsstream.Conn) error { _, err := c.Read(byte1); return err }},
		{"WriteTo", false, func(c *tlsstream.Conn) error { _, err := c.WriteTo(io.Discard); return err }},
		{"Write", true, func(c *tlsstream.Conn) error { _, err := c.Write(byte1); return err }},
		{"empty Write", true, func(c *tlsstream.Conn) error { _, err := c.Write(nil); return err }},
		{"FlushTickets", true, (*tlsstream.Conn).FlushTickets},
		{"CloseWrite", true, (*tlsstream.Conn).CloseWrite},
		{"Close", true, (*tlsstream.Conn).Close},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, conn := newRequester(t, streamStack, narrowBack)
				server := conn.(*tlsstream.Conn)
				if c.clogged {
					clog(t, server)
				}
				// Two of them: one waits for the transport, the other for the first.
				ended := make(chan error, 2)
				for range 2 {
					go func() { ended <- c.call(server) }()
				}
				synctest.Wait()
				if c.name != "Close" {
					mustTake(t, "Close", 0, func() { server.Close() })
				}
				for range 2 {
					if err := <-ended; !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("%s: %v", c.name, err)
					}
				}
			})
		})
	}
}

// So it does during a handshake, whoever runs it and whatever it waits for.
func TestCloseEndsABlockedHandshake(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{true, false} {
		for _, sendBuffer := range []int{0, 1 << 16} { // waits for a write, or for the peer
			synctest.Test(t, func(t *testing.T) {
				a, b := membio.Pipe(membio.PipeOptions{A: membio.PipeSide{SendBuffer: sendBuffer}})
				defer b.Close()
				c := streamStack.server(a, testCA.ServerConfig())
				if client {
					c = streamStack.client(a, testCA.ClientConfig())
				}
				ended := make(chan error, 4)
				go func() { ended <- c.Handshake() }()
				go func() { ended <- c.Handshake() }()
				go func() { _, err := c.Read([]byte{0}); ended <- err }()
				go func() { _, err := c.Write([]byte{0}); ended <- err }()
				synctest.Wait()
				mustTake(t, "Close", 0, func() { c.Close() })
				for range 4 {
					if err := <-ended; !errors.Is(err, net.ErrClosed) {
						t.Errorf("client=%t sendBuffer=%d: %v", client, sendBuffer, err)
					}
				}
			})
		}
	}
}

// Close sends what is pending and held before close_notify: a stream is whole
// even when its last Write timed out.
func TestCloseSendsWhatIsPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := newRequester(t, streamStack, narrowBack)
		client.request(3)
		if _, err := io.ReadFull(server, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		sealed := clog(t, server)
		closed := make(chan error, 1)
		go func() { closed <- server.Close() }()
		got, err := io.ReadAll(client)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "the stream", got, make([]byte, sealed))
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// After Close every call fails with net.ErrClosed, as with a net.Conn.
func TestCallsAfterClose(t *testing.T) {
	t.Parallel()
	a, b := membio.Pipe(wide(1 << 20))
	defer a.Close()
	client, c := tlsstream.Client(a, testCA.ClientConfig()), tlsstream.Server(b, testCA.ServerConfig())
	if err := handshakeBoth(client, c); err != nil {
		t.Fatal(err)
	}
	c.Close()
	_, readErr := c.Read(make([]byte, 1))
	_, writeErr := c.Write(make([]byte, 1))
	_, emptyErr := c.Write(nil)
	_, fromErr := c.ReadFrom(io.LimitReader(zeros{}, 10))
	_, toErr := c.WriteTo(io.Discard)
	got := map[string]bool{}
	for name, err := range map[string]error{
		"Read": readErr, "Write": writeErr, "Write(nil)": emptyErr, "ReadFrom": fromErr, "WriteTo": toErr,
		"FlushTickets": c.FlushTickets(), "CloseWrite": c.CloseWrite(), "Close": c.Close(),
		"SetDeadline": c.SetDeadline(longAgo),
	} {
		got[name] = errors.Is(err, net.ErrClosed)
	}
	want := map[string]bool{
		"Read": true, "Write": true, "Write(nil)": true, "ReadFrom": true, "WriteTo": true,
		"FlushTickets": true, "CloseWrite": true, "Close": true,
		"SetDeadline": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("net.ErrClosed, -want +got:\n%s", diff)
	}
	if s := c.ConnectionState(); !s.HandshakeComplete {
		t.Error("Close has made ConnectionState forget the handshake")
	}
	client.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
