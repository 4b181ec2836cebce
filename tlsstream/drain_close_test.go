package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A drainPipe is an end of a net.Pipe whose sending side can be shut down, as far
// as it says: the peer sees close_notify, and no FIN.
type drainPipe struct {
	net.Conn
	deaf         bool // deadlines of reading have no effect
	shut, closed atomic.Int32
	calls        atomic.Int32 // of everything but Read and Write
}

// staysDead fails the test if something of what used c comes to life again, by a
// timer of the bubble.
func (c *drainPipe) staysDead(t *testing.T) {
	t.Helper()
	synctest.Wait()
	calls := c.calls.Load()
	time.Sleep(time.Hour)
	synctest.Wait()
	if again := c.calls.Load(); again != calls {
		t.Errorf("%d things were done to the transport later", again-calls)
	}
}

func (c *drainPipe) SetWriteDeadline(t time.Time) error {
	c.calls.Add(1)
	return c.Conn.SetWriteDeadline(t)
}

func (c *drainPipe) SetReadDeadline(t time.Time) error {
	c.calls.Add(1)
	if c.deaf {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *drainPipe) CloseWrite() error {
	c.calls.Add(1)
	c.shut.Add(1)
	return nil
}

func (c *drainPipe) Close() error {
	c.calls.Add(1)
	c.closed.Add(1)
	return c.Conn.Close()
}

// A closeCase is the life of a connection up to Close, whose time is measured to
// the nanosecond, on the clock of a bubble.
type closeCase struct {
	name    string
	options tlsstream.Options
	server  bool   // our side is the server
	version uint16 // the highest; zero is TLS 1.3

	// before is what our side does, and peer what the other does from the end of
	// the handshake on. A nil peer takes everything and sends nothing.
	before func(t *testing.T, c *tlsstream.Conn, transport *drainPipe)
	peer   func(peer *tls.Conn, transport net.Conn)

	want  time.Duration
	is    error // of Close; nil for none
	fails bool  // Close returns an error of no type in particular
}

const (
	closeDefault = 5 * time.Second // Options.CloseTimeout
	drainDefault = 2 * time.Second // Options.DrainTimeout
)

func takeAllRaw(_ *tls.Conn, transport net.Conn) { io.Copy(io.Discard, transport) }

// takeAfter takes nothing for the time d, and then everything.
func takeAfter(d time.Duration) func(*tls.Conn, net.Conn) {
	return func(_ *tls.Conn, transport net.Conn) {
		time.Sleep(d)
		io.Copy(io.Discard, transport)
	}
}

// closeReadAndData calls CloseRead and lets what the peer sends come.
func closeReadAndData(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
	if err := c.CloseRead(); err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

// talk sends a word now and then, and takes everything.
func talk(peer *tls.Conn, transport net.Conn) {
	go takeAllRaw(peer, transport)
	for {
		if _, err := peer.Write([]byte("x")); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var closeCases = []closeCase{
	{name: "client that has read nothing", want: drainDefault},
	{name: "another DrainTimeout", options: tlsstream.Options{DrainTimeout: 300 * time.Millisecond}, want: 300 * time.Millisecond},
	{name: "no DrainTimeout", options: tlsstream.Options{DrainTimeout: -1}, want: 0},
	{name: "server", server: true, want: 0},
	{name: "TLS 1.2", version: tls.VersionTLS12, want: 0},
	{name: "client that has written", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}, want: drainDefault},
	{name: "client that has read", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}, peer: func(peer *tls.Conn, transport net.Conn) {
		peer.Write([]byte("x"))
		takeAllRaw(peer, transport)
	}, want: 0},
	{name: "client that has read the end", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
	}, peer: func(peer *tls.Conn, transport net.Conn) {
		peer.CloseWrite()
		takeAllRaw(peer, transport)
	}, want: 0},
	{name: "read deadline", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	}, want: 500 * time.Millisecond},
	{name: "read deadline that has passed", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		c.SetReadDeadline(time.Now().Add(-time.Second))
	}, want: 0},
	{name: "read deadline that comes later", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		c.SetReadDeadline(time.Now().Add(time.Hour))
	}, want: drainDefault},
	{name: "read deadline, CloseRead", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		if err := c.CloseRead(); err != nil {
			t.Error(err)
		}
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		time.Sleep(100 * time.Millisecond)
	}, want: 400 * time.Millisecond},
	{name: "read deadline that passed after CloseRead", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		if err := c.CloseRead(); err != nil {
			t.Error(err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Minute)
	}, want: 0},
	{name: "CloseRead, and data is dropped", options: tlsstream.Options{DropAfterCloseRead: true}, before: closeReadAndData, peer: talk, want: drainDefault},
	{name: "CloseRead, and data is an error", before: closeReadAndData, peer: talk, want: drainDefault, fails: true},
	{name: "CloseRead, and the peer has ended", before: closeReadAndData, peer: func(peer *tls.Conn, transport net.Conn) {
		peer.CloseWrite()
		takeAllRaw(peer, transport)
	}, want: 0},
	{name: "peer that closes", peer: func(peer *tls.Conn, transport net.Conn) {
		peer.Read(make([]byte, 1)) // close_notify
		time.Sleep(700 * time.Millisecond)
		transport.Close()
	}, want: 700 * time.Millisecond},
	{name: "peer that ends its stream", peer: func(peer *tls.Conn, transport net.Conn) {
		peer.Read(make([]byte, 1))
		time.Sleep(700 * time.Millisecond)
		peer.CloseWrite()
	}, want: 700 * time.Millisecond},
	{name: "peer that talks on", peer: talk, want: drainDefault},
	{name: "flood", peer: func(peer *tls.Conn, transport net.Conn) {
		go takeAllRaw(peer, transport)
		for p := make([]byte, 1<<16); ; {
			if _, err := peer.Write(p); err != nil {
				return
			}
		}
	}, want: 0},
	{name: "peer that takes nothing", peer: func(*tls.Conn, net.Conn) {}, want: closeDefault, is: os.ErrDeadlineExceeded},
	{name: "peer that takes nothing, CloseTimeout", options: tlsstream.Options{CloseTimeout: time.Second}, peer: func(*tls.Conn, net.Conn) {}, want: time.Second, is: os.ErrDeadlineExceeded},
	{name: "peer that takes nothing, write deadline", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	}, peer: func(*tls.Conn, net.Conn) {}, want: 300 * time.Millisecond, is: os.ErrDeadlineExceeded},
	{name: "peer that takes it late", peer: takeAfter(closeDefault - time.Millisecond), want: closeDefault - time.Millisecond + drainDefault},
	{name: "a Read that cannot be called back", before: func(t *testing.T, c *tlsstream.Conn, transport *drainPipe) {
		transport.deaf = true
		go func() {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}()
		synctest.Wait()
	}, peer: takeAfter(closeDefault - time.Millisecond), want: closeDefault - time.Millisecond + 500*time.Millisecond},
	{name: "a Read in progress", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		began := time.Now()
		go func() {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) || time.Since(began) != time.Second {
				t.Errorf("Read returned after %v: %v", time.Since(began), err)
			}
		}()
		time.Sleep(time.Second)
	}, want: drainDefault},
	{name: "a Read that cannot be called back, no DrainTimeout", options: tlsstream.Options{DrainTimeout: -1}, before: func(t *testing.T, c *tlsstream.Conn, transport *drainPipe) {
		transport.deaf = true
		go c.Read(make([]byte, 1))
		synctest.Wait()
	}, want: 0},
	{name: "a Write in progress", before: func(t *testing.T, c *tlsstream.Conn, _ *drainPipe) {
		go func() {
			if _, err := c.Write(make([]byte, 1<<20)); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}()
		synctest.Wait()
	}, peer: func(*tls.Conn, net.Conn) {}, want: 0},
}

func (c *closeCase) run(t *testing.T) {
	ours, theirs := net.Pipe()
	transport := &drainPipe{Conn: ours}
	clientConfig, serverConfig := endCA.ClientConfig(), endCA.ServerConfig()
	clientConfig.MaxVersion = c.version
	conn, peer := c.options.Client(transport, clientConfig), tls.Server(theirs, serverConfig)
	if c.server {
		conn, peer = c.options.Server(transport, serverConfig), tls.Client(theirs, clientConfig)
	}
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }()
	if err := errors.Join(conn.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	play := c.peer
	if play == nil {
		play = takeAllRaw
	}
	gone := make(chan struct{})
	go func() {
		play(peer, theirs)
		close(gone)
	}()
	if c.before != nil {
		c.before(t, conn, transport)
	}
	began := time.Now()
	err := conn.Close()
	if took := time.Since(began); took != c.want {
		t.Errorf("Close took %v, want %v", took, c.want)
	}
	if c.fails != (err != nil && c.is == nil) || c.is != nil && !errors.Is(err, c.is) {
		t.Errorf("Close returned %v, want %v, or another error: %v", err, c.is, c.fails)
	}
	if transport.closed.Load() != 1 {
		t.Errorf("the transport was closed %d times", transport.closed.Load())
	}
	theirs.Close()
	<-gone
	transport.staysDead(t)
}

// How long Close may wait, as its documentation and that of Options say.
func TestCloseWaitsAsLongAsDocumented(t *testing.T) {
	for _, c := range closeCases {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, c.run) })
	}
}

// While Close waits for the server, it is closed to everybody else.
func TestCallsDuringADrainReturnAtOnce(t *testing.T) {
	for name, call := range map[string]func(*tlsstream.Conn) error{
		"Read":         func(c *tlsstream.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"Write":        func(c *tlsstream.Conn) error { _, err := c.Write(make([]byte, 1)); return err },
		"CloseWrite":   (*tlsstream.Conn).CloseWrite,
		"CloseRead":    (*tlsstream.Conn).CloseRead,
		"FlushTickets": (*tlsstream.Conn).FlushTickets,
		"Close":        (*tlsstream.Conn).Close,
		"Abort":        func(c *tlsstream.Conn) error { return c.Abort(tlsstream.AlertInternalError) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				closing := closeCase{want: drainDefault, before: func(t *testing.T, c *tlsstream.Conn, transport *drainPipe) {
					time.AfterFunc(time.Second, func() {
						began := time.Now()
						if err := call(c); !errors.Is(err, net.ErrClosed) || time.Since(began) != 0 {
							t.Errorf("%v after %v", err, time.Since(began))
						}
					})
				}}
				closing.run(t)
			})
		})
	}
}
