package membio

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

func TestConnWaitersDoNotOutliveClose(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func(c *Conn) error
	}{
		{"Write", func(c *Conn) error { _, err := c.Write([]byte("p")); return err }},
		{"Flush", func(c *Conn) error { return c.Flush() }},
		{"Read", func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"ReadAhead", func(c *Conn) error { _, err := c.ReadAhead(1); return err }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := newDeafConn()
				c := NewConn(transport)
				c.Queue([]byte("pending"))
				var holders, waiter sync.WaitGroup
				holders.Go(func() { c.Flush() })
				holders.Go(func() { c.ReadAhead(1) })
				synctest.Wait()
				var err error
				waiter.Go(func() { err = tt.call(c) })
				synctest.Wait()

				c.Close()
				waiter.Wait() // deadlocks, and so fails, if it waits for the transport
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				close(transport.release)
				holders.Wait()
				if c.Buffered() != 0 || c.Pending() != 0 {
					t.Errorf("%d bytes read ahead and %d pending on a closed Conn", c.Buffered(), c.Pending())
				}
				if err := tt.call(c); !errors.Is(err, net.ErrClosed) {
					t.Errorf("after Close: %v", err)
				}
			})
		})
	}
}

func TestConnCloseDropsWhatItHolds(t *testing.T) {
	var transport recorder
	c := NewConn(&transport)
	c.Queue([]byte("pending"))
	c.Unread([]byte("ahead"))
	if err := c.Close(); err != errBroken {
		t.Errorf("Close = %v, want the transport's error", err)
	}
	c.Queue([]byte("too late"))
	if err := c.Unread([]byte("too late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Unread after Close: %v", err)
	}
	if c.Pending() != 0 || c.Buffered() != 0 || len(transport.writes) != 0 {
		t.Errorf("%d pending, %d read ahead, %d writes", c.Pending(), c.Buffered(), len(transport.writes))
	}
	c.Close()
	if transport.closes != 2 {
		t.Errorf("the transport was closed %d times in 2 calls", transport.closes)
	}
}

// TestConnCloseKeepsChunksThatTheTransportReads: a chunk returned to the pool
// too early would put another connection's bytes on this one's wire.
func TestConnCloseKeepsChunksThatTheTransportReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newDeafConn()
		c := NewConn(transport)
		want := string(pattern(1000))
		c.Queue([]byte(want))
		var wg sync.WaitGroup
		wg.Go(func() { c.Flush() })
		synctest.Wait()
		c.Close()

		other := Buffer{Limit: -1}
		other.Write(make([]byte, 100*chunkBytes))
		close(transport.release)
		wg.Wait()
		if transport.written() != want {
			t.Error("bytes of another buffer went out")
		}
	})
}

func TestConnCloseDuringAFailingWriteDropsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newDeafConn()
		transport.err = errBroken
		c := NewConn(transport)
		c.Queue([]byte("pending"))
		var wg sync.WaitGroup
		wg.Go(func() { c.Flush() })
		synctest.Wait()
		c.Close()
		close(transport.release)
		wg.Wait()
		if c.Pending() != 0 || c.pending.head != nil {
			t.Errorf("%d bytes pending on a closed Conn", c.Pending())
		}
	})
}

func TestConnPassesHalfCloseOn(t *testing.T) {
	tcpA, tcpB := tcpPair(t)
	pipeA, pipeB := Pipe(PipeOptions{A: PipeSide{SendBuffer: 100}})
	for _, tt := range []struct {
		name string
		a, b net.Conn
	}{
		{"TCP", tcpA, tcpB},
		{"Pipe", pipeA, pipeB},
	} {
		c := NewConn(tt.a)
		c.Queue([]byte("bye"))
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(tt.b); string(got) != "bye" || err != nil {
			t.Errorf("%s: the peer read %q, %v", tt.name, got, err)
		}
		if err := c.CloseRead(); err != nil {
			t.Error(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: Read after CloseRead = %d, %v", tt.name, n, err)
		}
		if c.NetConn() != tt.a || c.LocalAddr() != tt.a.LocalAddr() || c.RemoteAddr() != tt.a.RemoteAddr() {
			t.Errorf("%s: the transport or its addresses are not passed on", tt.name)
		}
		c.Close()
		tt.b.Close()
	}

	c := NewConn(nullConn{})
	for _, err := range []error{c.CloseWrite(), c.CloseRead()} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("half-close of a transport without it: %v", err)
		}
	}
}
