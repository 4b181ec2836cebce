package membio_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// A halfPipe is an end of a net.Pipe that pretends to have sending sides which can
// be shut down, and counts what is done to it.
type halfPipe struct {
	net.Conn
	shutErr      error
	shut, closed atomic.Int32
}

func (c *halfPipe) CloseWrite() error {
	c.shut.Add(1)
	return c.shutErr
}

func (c *halfPipe) Close() error {
	c.closed.Add(1)
	return c.Conn.Close()
}

func newHalfPipe() (ours *halfPipe, theirs net.Conn) {
	a, b := net.Pipe()
	return &halfPipe{Conn: a}, b
}

const drainLimit = 16 << 20

func TestDrainReadsToTheEnd(t *testing.T) {
	ours, theirs := newHalfPipe()
	go func() {
		theirs.Write(make([]byte, 100<<10))
		theirs.Close()
	}()
	if err := membio.Drain(ours); err != nil {
		t.Error(err)
	}
}

func TestDrainIsBoundedInBytes(t *testing.T) {
	ours, theirs := newHalfPipe()
	sent := make(chan int, 1)
	go func() {
		n := 0
		for p := make([]byte, 64<<10); ; {
			k, err := theirs.Write(p)
			n += k
			if err != nil {
				sent <- n
				return
			}
		}
	}()
	if err := membio.Drain(ours); err != membio.ErrFull {
		t.Errorf("got %v", err)
	}
	ours.Close()
	if n := <-sent; n < drainLimit || n > drainLimit+64<<10 {
		t.Errorf("%d bytes were read", n)
	}
}

func TestDrainStopsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newHalfPipe()
		defer theirs.Close()
		ours.SetReadDeadline(time.Now().Add(time.Second))
		began := time.Now()
		if err := membio.Drain(ours); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// Whoever closes goes on at once, whatever the peer does, and the connection lives
// as long as the peer sends, but no longer than it may.
func TestCloseDrainedDoesNotWait(t *testing.T) {
	const within = 2 * time.Second
	drip := func(theirs net.Conn) {
		for {
			if _, err := theirs.Write([]byte{1}); err != nil {
				return
			}
			time.Sleep(within / 10)
		}
	}
	for _, c := range []struct {
		name string
		peer func(theirs net.Conn)
		want time.Duration // how long the connection lives
	}{
		{"a peer that closes", func(theirs net.Conn) { theirs.Close() }, 0},
		{"a peer that closes later", func(theirs net.Conn) { time.Sleep(within / 2); theirs.Close() }, within / 2},
		{"a silent peer", func(net.Conn) {}, within},
		{"a peer that drips", drip, within},
		{"a flood", func(theirs net.Conn) {
			for p := make([]byte, 64<<10); ; {
				if _, err := theirs.Write(p); err != nil {
					return
				}
			}
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := newHalfPipe()
				defer theirs.Close()
				ours.SetReadDeadline(time.Unix(1, 0)) // of the handshake, and past
				var peer sync.WaitGroup
				peer.Go(func() { c.peer(theirs) })
				defer peer.Wait()
				began := time.Now()
				if err := membio.CloseDrained(ours, within); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("CloseDrained took %v", took)
				}
				for ours.closed.Load() == 0 && time.Since(began) < time.Hour {
					time.Sleep(within / 20)
					synctest.Wait()
				}
				lived := time.Since(began)
				if lived < c.want || lived > c.want+within/10 || ours.shut.Load() != 1 {
					t.Errorf("lived %v, want %v; shut down %d times", lived, c.want, ours.shut.Load())
				}
			})
		})
	}
}

// Past the limit, and where the peer cannot be told to finish, it is a plain Close.
func TestCloseDrainedClosesAtOnceIfItMust(t *testing.T) {
	t.Run("no CloseWrite", func(t *testing.T) {
		ours, theirs := net.Pipe()
		if err := membio.CloseDrained(ours, time.Hour); err != nil {
			t.Error(err)
		}
		if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the peer sees %v", err)
		}
	})
	t.Run("CloseWrite fails", func(t *testing.T) {
		ours, _ := newHalfPipe()
		ours.shutErr = errors.ErrUnsupported
		if err := membio.CloseDrained(ours, time.Hour); err != nil || ours.closed.Load() != 1 {
			t.Errorf("%v, closed %d times", err, ours.closed.Load())
		}
	})
	t.Run("many", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const limit = 256
			var conns []*halfPipe
			var peers []net.Conn
			for range limit + 10 {
				ours, theirs := newHalfPipe()
				conns, peers = append(conns, ours), append(peers, theirs)
				if err := membio.CloseDrained(ours, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			for i, c := range conns {
				if open := c.closed.Load() == 0; open != (i < limit) {
					t.Errorf("connection %d: open %v", i, open)
				}
			}
			peers[0].Close() // makes room for one
			synctest.Wait()
			ours, theirs := newHalfPipe()
			if membio.CloseDrained(ours, time.Minute); ours.closed.Load() != 0 {
				t.Error("there was room, and the connection was closed")
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			for i, c := range append(conns, ours) {
				if c.closed.Load() != 1 {
					t.Errorf("connection %d: closed %d times", i, c.closed.Load())
				}
			}
			for _, p := range append(peers, theirs) {
				p.Close()
			}
		})
	})
}
