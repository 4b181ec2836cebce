package membio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/nettest"
)

func TestConnWritesPendingFirstAndInOneWrite(t *testing.T) {
	for _, pending := range []int{1, 100, 3 * chunkBytes} {
		for _, size := range []int{0, 1, chunkBytes} {
			held, p := pattern(pending), bytes.Repeat([]byte("p"), size)
			var transport recorder
			c := NewConn(&transport)
			c.Queue(held[:pending/2], held[pending/2:])
			if c.Pending() != pending || len(transport.writes) != 0 {
				t.Fatalf("Pending = %d, %d writes after Queue of %d", c.Pending(), len(transport.writes), pending)
			}
			if n, err := c.Write(p); n != size || err != nil {
				t.Errorf("Write of %d with %d pending = %d, %v", size, pending, n, err)
			}
			if !slices.EqualFunc(transport.writes, [][]byte{append(held, p...)}, bytes.Equal) {
				t.Errorf("Write of %d with %d pending: %d writes, or other bytes", size, pending, len(transport.writes))
			}
			if c.Pending() != 0 {
				t.Errorf("%d bytes still pending", c.Pending())
			}
		}
	}
}

func TestConnPassesThroughWhenNothingIsPending(t *testing.T) {
	var transport recorder
	c := NewConn(&transport)
	p := pattern(100)
	if n, err := c.Write(p); n != len(p) || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if transport.first != &p[0] {
		t.Error("p was copied on its way to the transport")
	}
	if err := c.Flush(); err != nil || len(transport.writes) != 1 {
		t.Errorf("Flush of nothing: %v, and %d writes in all", err, len(transport.writes))
	}
}

// TestConnLosesNothingWhenTheTransportStalls stops the transport after each
// number of bytes, and then lets it take the rest.
func TestConnLosesNothingWhenTheTransportStalls(t *testing.T) {
	const pending, p, later = "0123456789", "abc", "later"
	for take := range len(pending + p) {
		transport := &stallingConn{left: take}
		c := NewConn(transport)
		c.Queue([]byte(pending))
		n, err := c.Write([]byte(p))
		if want := max(0, take-len(pending)); n != want || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("stalled after %d: Write = %d, %v, want %d and a timeout", take, n, err, want)
		}
		if want := max(0, len(pending)-take); c.Pending() != want {
			t.Errorf("stalled after %d: %d pending, want %d", take, c.Pending(), want)
		}
		if err := c.Flush(); c.Pending() > 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("stalled after %d: Flush = %v", take, err)
		}

		transport.left = 1 << 20
		if _, err := c.Write([]byte(p[n:])); err != nil {
			t.Error(err)
		}
		c.Queue([]byte(later))
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
		if got := string(transport.got); got != pending+p+later {
			t.Errorf("stalled after %d: the peer got %q", take, got)
		}
	}
}

func TestConnNoticesAShortWrite(t *testing.T) {
	c := NewConn(silentConn{})
	c.Queue([]byte("pending"))
	if n, err := c.Write([]byte("p")); n != 0 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("Write = %d, %v", n, err)
	}
	c.Queue([]byte("pending"))
	if err := c.Flush(); !errors.Is(err, io.ErrShortWrite) || c.Pending() != 1 {
		t.Errorf("Flush = %v, with %d pending", err, c.Pending())
	}
}

func TestConnQueueDoesNotWaitForAWrite(t *testing.T) {
	for _, first := range []string{"", "pending "} {
		synctest.Test(t, func(t *testing.T) {
			transport := newDeafConn()
			c := NewConn(transport)
			c.Queue([]byte(first))
			var wg sync.WaitGroup
			wg.Go(func() { c.Write([]byte("write ")) })
			synctest.Wait() // the Write is in the transport

			c.Queue([]byte("queued"))
			if want := len(first) + len("queued"); c.Pending() != want {
				t.Errorf("Pending = %d, want %d", c.Pending(), want)
			}
			close(transport.release)
			wg.Wait()
			if c.Pending() != len("queued") {
				t.Errorf("Pending = %d after the Write", c.Pending())
			}
			c.Flush()
			if got, want := transport.written(), first+"write queued"; got != want {
				t.Errorf("the peer got %q, want %q", got, want)
			}
		})
	}
}

func TestConnReturnsReadAheadWithoutReadingMore(t *testing.T) {
	transport := &scriptedConn{replies: []reply{{"ahead", nil}, {"later", nil}}}
	c := NewConn(transport)
	if err := c.Unread([]byte("un")); err != nil {
		t.Fatal(err)
	}
	if err := c.Unread([]byte("read ")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.ReadAhead(100); n != 5 || err != nil {
		t.Fatalf("ReadAhead = %d, %v", n, err)
	}
	if c.Buffered() != len("unread ahead") {
		t.Errorf("Buffered = %d", c.Buffered())
	}
	var got []string
	p := make([]byte, 9)
	for {
		n, err := c.Read(p)
		if err != nil {
			break
		}
		got = append(got, string(p[:n]))
	}
	if diff := cmp.Diff([]string{"unread ah", "ead", "later"}, got); diff != "" {
		t.Error(diff)
	}
	// One by ReadAhead, two by Read: none while bytes were read ahead.
	if diff := cmp.Diff([]int{100, 9, 9}, transport.asked); diff != "" {
		t.Error(diff)
	}
}

func TestConnReadAheadKeepsBytesThatCameWithAnError(t *testing.T) {
	c := NewConn(&scriptedConn{replies: []reply{{"last", io.EOF}}})
	if n, err := c.ReadAhead(10); n != 4 || err != io.EOF {
		t.Errorf("ReadAhead = %d, %v", n, err)
	}
	if got, err := io.ReadAll(c); string(got) != "last" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestConnReadAheadIsBounded(t *testing.T) {
	transport := &scriptedConn{}
	for range 100 {
		transport.replies = append(transport.replies, reply{string(pattern(chunkBytes)), nil})
	}
	c := NewConn(transport)
	if n, err := c.ReadAhead(0); n != 0 || err != nil || len(transport.asked) != 0 {
		t.Errorf("ReadAhead of nothing = %d, %v, and %d reads", n, err, len(transport.asked))
	}
	for range 100 {
		if _, err := c.ReadAhead(1 << 20); err != nil {
			if err != ErrFull {
				t.Error(err)
			}
			break
		}
	}
	if c.Buffered() != DefaultLimit {
		t.Errorf("%d bytes read ahead, want %d", c.Buffered(), DefaultLimit)
	}
	reads := len(transport.asked)
	if n, err := c.ReadAhead(1); n != 0 || err != ErrFull || len(transport.asked) != reads {
		t.Errorf("ReadAhead at the limit = %d, %v, and %d reads", n, err, len(transport.asked)-reads)
	}
	if err := c.Unread([]byte("x")); err != ErrFull {
		t.Errorf("Unread at the limit: %v", err)
	}
	c.Read(make([]byte, 1))
	if err := c.Unread([]byte("xy")); err != ErrFull || c.Buffered() != DefaultLimit-1 {
		t.Errorf("Unread of two bytes into one: %v, %d held", err, c.Buffered())
	}
	if err := c.Unread([]byte("x")); err != nil {
		t.Error(err)
	}
}

// TestConnReadAheadDoesNotShowOldBytes is about a broken transport, whose
// count would reach into what a pooled chunk held for another connection.
func TestConnReadAheadDoesNotShowOldBytes(t *testing.T) {
	c := NewConn(boastingConn{})
	defer func() {
		if recover() == nil {
			t.Errorf("ReadAhead believed the transport: %d bytes held", c.Buffered())
		}
	}()
	c.ReadAhead(10)
}

func TestConnReadDoesNotWaitForAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(PipeOptions{})
		defer b.Close()
		c := NewConn(a)
		c.Queue([]byte("pending"))
		var wg sync.WaitGroup
		wg.Go(func() { c.Write([]byte("blocked")) })
		synctest.Wait()
		wg.Go(func() { b.Write([]byte("hello")) })
		p := make([]byte, 5)
		if _, err := io.ReadFull(c, p); err != nil || string(p) != "hello" {
			t.Errorf("read %q, %v", p, err)
		}
		c.Close()
		wg.Wait()
	})
}

func TestConnIdleHoldsNothing(t *testing.T) {
	c := NewConn(&scriptedConn{replies: []reply{{"ahead", nil}}})
	c.Queue([]byte("pending"))
	c.Flush()
	c.ReadAhead(100)
	c.Read(make([]byte, 100))
	if c.pending.head != nil || c.ahead.head != nil {
		t.Error("an idle Conn holds a chunk")
	}
}

func TestConnErrorsWorkWithoutAddresses(t *testing.T) {
	c := NewConn(nowhereConn{})
	c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) || err.Error() == "" {
		t.Error(err)
	}
}

// TestConnKeepsTheOrderOfTheStream lets writes time out at random places
// while more is queued, and reads in all ways.
func TestConnKeepsTheOrderOfTheStream(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			a, b := Pipe(PipeOptions{
				A:    PipeSide{SendBuffer: int(seed) * 50},
				B:    PipeSide{ReceiveBuffer: int(seed%3) * 100, MaxSegment: 70},
				Seed: seed,
			})
			w, r := NewConn(a), NewConn(b)
			want := pattern(100_000)

			var wg sync.WaitGroup
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, 1))
				for rest := want; len(rest) > 0 || w.Pending() > 0; {
					n := min(rnd.IntN(700), len(rest))
					if rnd.IntN(3) == 0 {
						w.Queue(rest[:n])
						rest = rest[n:]
						continue
					}
					w.SetWriteDeadline(time.Now().Add(time.Duration(rnd.IntN(5)) * time.Millisecond))
					n, err := w.Write(rest[:n])
					rest = rest[n:]
					if err != nil && outcome(err) != "timeout" {
						t.Error(err)
						return
					}
				}
				w.CloseWrite()
			})

			rnd := rand.New(rand.NewPCG(seed, 2))
			var got []byte
			for {
				time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond) // virtual: a slow reader
				if rnd.IntN(2) == 0 {
					r.ReadAhead(rnd.IntN(300))
				}
				p := make([]byte, 1+rnd.IntN(300))
				n, err := r.Read(p)
				got = append(got, p[:n]...)
				if err != nil {
					if err != io.EOF {
						t.Error(err)
					}
					break
				}
			}
			wg.Wait()
			if !bytes.Equal(got, want) {
				t.Errorf("seed %d: %d bytes arrived of %d, or they differ", seed, len(got), len(want))
			}
		})
	}
}

func TestConnIsANetConn(t *testing.T) {
	over := func(a, b net.Conn) (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = NewConn(a), NewConn(b)
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	}
	t.Run("over=TCP", func(t *testing.T) {
		nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
			a, b := tcpPair(t)
			return over(a, b)
		})
	})
	for _, name := range []string{"lockstep", "4 KiB", "segments"} {
		o := netConnPipes[name]
		t.Run("over=Pipe/"+name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				a, b := Pipe(o)
				return over(a, b)
			})
		})
	}
}
