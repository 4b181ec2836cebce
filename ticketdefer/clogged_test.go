package ticketdefer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A clogged transport takes no bytes once it is told so: its Write waits until
// it is closed. blocked tells that one waits. A broken one fails at once.
type clogged struct {
	net.Conn
	mu      sync.Mutex
	clog    bool
	broken  bool
	blocked chan struct{}
	closed  chan struct{}
	once    sync.Once
}

func newClogged(conn net.Conn) *clogged {
	return &clogged{Conn: conn, blocked: make(chan struct{}, 1), closed: make(chan struct{})}
}

func (c *clogged) Write(p []byte) (int, error) {
	c.mu.Lock()
	clog, broken := c.clog, c.broken
	c.mu.Unlock()
	switch {
	case broken:
		return 0, syscall.EPIPE
	case !clog:
		return c.Conn.Write(p)
	}
	select {
	case c.blocked <- struct{}{}:
	default:
	}
	<-c.closed
	return 0, net.ErrClosed
}

func (c *clogged) set(clog, broken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clog, c.broken = clog, broken
}

func (c *clogged) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Close breaks a Write that is blocked in the transport, and everything that
// waits behind it.
func TestCloseFreesABlockedWrite(t *testing.T) {
	a, b := tlstest.TCPPair(t)
	transport := newClogged(a)
	conn := WrapConn(transport)
	server := tls.Server(conn, WrapConfig(testCA.ServerConfig()))
	p := newPuppetClient(t, server, b, resumable())
	transport.set(true, false)

	var waiting sync.WaitGroup
	results := make(chan error, 3)
	call := func(f func() error) {
		waiting.Go(func() { results <- f() })
	}
	call(func() error { _, err := server.Write(make([]byte, 100)); return err })
	<-transport.blocked
	call(conn.FlushTickets)
	call(func() error { _, err := io.ReadFull(server, make([]byte, 5)); return err })
	// The Read that answers this waits for crypto/tls's write lock.
	mustWrite(t, p, p.sealData(p.sealUpdate(nil, keyUpdateRequested), "five!"))
	hang := time.AfterFunc(testTimeout, func() {
		t.Error("Close waits for the blocked Write")
		transport.Close()
	})
	defer hang.Stop()
	if err := server.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	waiting.Wait()
	failed := 0
	for range 3 {
		if <-results != nil {
			failed++
		}
	}
	if failed < 2 {
		t.Errorf("%d of 3 calls failed, want the Write and the flush at least", failed)
	}
	if n, err := conn.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close = %d, %v", n, err)
	}
}

// An answer to a KeyUpdate goes to memory: Read gets all that the peer sends,
// though the transport takes nothing, or fails.
func TestReadNeverBlocksOnAWrite(t *testing.T) {
	const words = 200
	for _, h := range halves {
		for _, broken := range []bool{false, true} {
			for _, l := range layers {
				t.Run(fmt.Sprintf("%s/broken=%v/%s", h.name, broken, l.name), func(t *testing.T) {
					a, b := tlstest.TCPPair(t)
					transport := newClogged(a)
					c, p, _ := h.start(t, l, transport, b)
					transport.set(!broken, broken)
					var flight []byte
					for range words {
						flight = p.sealData(p.sealUpdate(flight, keyUpdateRequested), "five!")
					}
					mustWrite(t, p, flight)
					read := make(chan error, 1)
					go func() {
						got := make([]byte, 5*words)
						_, err := io.ReadFull(c, got)
						if want := strings.Repeat("five!", words); err == nil && string(got) != want {
							err = errors.New("the data is not what was sent")
						}
						read <- err
					}()
					var err error
					select {
					case err = <-read:
					case <-transport.blocked:
						err = errors.New("Read waits for a write")
						transport.Close()
						<-read
					}
					if l.defers != (err == nil) {
						t.Errorf("reading: %v", err)
					}
					transport.Close()
				})
			}
		}
	}
}
