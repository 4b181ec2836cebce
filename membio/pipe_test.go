package membio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// netConnPipes are pipes on which nettest.TestConn must pass. One of its
// scenarios writes 13 bytes to an echo before it reads, and deadlocks, as it
// would over TCP, if both directions together hold less.
var netConnPipes = map[string]PipeOptions{
	"lockstep": {},
	"1 byte out": {
		A: PipeSide{SendBuffer: 4096, ReceiveBuffer: 4096},
		B: PipeSide{SendBuffer: 4096, ReceiveBuffer: 1},
	},
	"1 byte in": {
		A: PipeSide{SendBuffer: 4096, ReceiveBuffer: 1},
		B: PipeSide{SendBuffer: 1, ReceiveBuffer: 4096},
	},
	"send only":    {A: PipeSide{SendBuffer: 4096}, B: PipeSide{SendBuffer: 4096}},
	"receive only": {A: PipeSide{ReceiveBuffer: 4096}, B: PipeSide{ReceiveBuffer: 4096}},
	"4 KiB": {
		A: PipeSide{SendBuffer: 4096, ReceiveBuffer: 4096},
		B: PipeSide{SendBuffer: 4096, ReceiveBuffer: 4096},
	},
	"segments": {
		A: PipeSide{SendBuffer: 4096, ReceiveBuffer: 4096, MaxSegment: 1460},
		B: PipeSide{SendBuffer: 4096, ReceiveBuffer: 4096, MaxSegment: 7},
	},
	"segments larger than the buffer": {
		A: PipeSide{SendBuffer: 64, ReceiveBuffer: 16, MaxSegment: 100},
		B: PipeSide{SendBuffer: 64, ReceiveBuffer: 16, MaxSegment: 100},
	},
}

func TestPipeIsANetConn(t *testing.T) {
	for name, o := range netConnPipes {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				a, b := Pipe(o)
				return a, b, func() { a.Close(); b.Close() }, nil
			})
		})
	}
}

// TestPipeZeroValueIsLockstep asks net.Pipe the same.
func TestPipeZeroValueIsLockstep(t *testing.T) {
	for _, tt := range []struct {
		name string
		pipe func() (net.Conn, net.Conn)
	}{
		{"net.Pipe", net.Pipe},
		{"membio.Pipe", func() (net.Conn, net.Conn) { return Pipe(PipeOptions{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := tt.pipe()
				defer a.Close()
				defer b.Close()
				var wg sync.WaitGroup
				returned := 0
				wg.Go(func() {
					for _, s := range []string{"abc", "d"} {
						if n, err := a.Write([]byte(s)); n != len(s) || err != nil {
							t.Errorf("Write = %d, %v", n, err)
						}
						returned++
					}
				})
				for _, step := range []struct {
					read     int // at most
					want     string
					returned int // Writes, after the Read
				}{
					{0, "", 0},
					{1, "a", 0},
					{1, "b", 0},
					{10, "c", 1}, // not with bytes of the next Write
					{10, "d", 2},
				} {
					synctest.Wait()
					if step.read > 0 {
						p := make([]byte, step.read)
						n, err := b.Read(p)
						if got := string(p[:n]); got != step.want || err != nil {
							t.Errorf("Read = %q, %v, want %q", got, err, step.want)
						}
						synctest.Wait()
					}
					if returned != step.returned {
						t.Errorf("after %q: %d Writes have returned, want %d", step.want, returned, step.returned)
					}
				}
				wg.Wait()
			})
		})
	}
}

func TestPipeHoldsExactlyItsBuffers(t *testing.T) {
	for _, send := range []int{0, 1, 100, 3 * chunkBytes} {
		for _, receive := range []int{0, 1, 100, 3 * chunkBytes} {
			t.Run(fmt.Sprintf("send=%d/receive=%d", send, receive), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, b := Pipe(PipeOptions{A: PipeSide{SendBuffer: send}, B: PipeSide{ReceiveBuffer: receive}})
					p := pattern(send + receive + 10)
					a.SetWriteDeadline(time.Now().Add(time.Second))
					n, err := a.Write(p)
					if n != send+receive || outcome(err) != "timeout" {
						t.Errorf("Write = %d, %v, want %d and a timeout", n, err, send+receive)
					}
					if a.Unsent() != send || b.Unread() != receive {
						t.Errorf("%d unsent and %d unread, want %d and %d", a.Unsent(), b.Unread(), send, receive)
					}
					a.SetWriteDeadline(time.Time{})
					var wg sync.WaitGroup
					wg.Go(func() {
						if n, err := a.Write(p[n:]); n != 10 || err != nil {
							t.Errorf("second Write = %d, %v", n, err)
						}
						a.CloseWrite()
					})
					got, err := io.ReadAll(b)
					if !bytes.Equal(got, p) || err != nil {
						t.Errorf("read %d bytes, %v", len(got), err)
					}
					wg.Wait()
					if a.out.send.head != nil || a.out.recv.head != nil {
						t.Error("a drained pipe holds memory")
					}
				})
			})
		}
	}
}

func TestPipeCloseEndsCallsInProgress(t *testing.T) {
	for _, tt := range []struct {
		name        string
		call        func(*PipeConn) error
		local, peer string // by which end closes
	}{
		{"Read", func(c *PipeConn) error { _, err := c.Read(make([]byte, 1)); return err }, "closed", "EOF"},
		{"Write", func(c *PipeConn) error { _, err := c.Write([]byte("x")); return err }, "closed", "ECONNRESET"},
	} {
		for _, local := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe(PipeOptions{})
				var wg sync.WaitGroup
				want := tt.peer
				if local {
					want = tt.local
				}
				for range 3 { // one in the call and two that wait for their turn
					wg.Go(func() {
						err := tt.call(a)
						// The reset is told once; the others find the pipe broken.
						if got := outcome(err); got != want && !(want == "ECONNRESET" && got == "EPIPE") {
							t.Errorf("%s, closed locally %v: %v, want %s", tt.name, local, err, want)
						}
					})
				}
				synctest.Wait()
				if local {
					a.Close()
				} else {
					b.Close()
				}
				wg.Wait()
			})
		}
	}
}

func TestPipeOperationsAfterCloseSayClosed(t *testing.T) {
	a, b := Pipe(PipeOptions{})
	a.Close()
	for name, call := range map[string]func() error{
		"Read":          func() error { _, err := a.Read(nil); return err },
		"Write":         func() error { _, err := a.Write(nil); return err },
		"Close":         a.Close,
		"CloseRead":     a.CloseRead,
		"CloseWrite":    a.CloseWrite,
		"SetDeadline":   func() error { return a.SetDeadline(time.Now()) },
		"SetLinger":     func() error { return a.SetLinger(0) },
		"SetLinger > 0": func() error { return a.SetLinger(1) },
	} {
		err := call()
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, ok := errors.AsType[*net.OpError](err); !ok {
			t.Errorf("%s: a %T, want a *net.OpError", name, err)
		}
	}
	if err := b.SetLinger(1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SetLinger(1): %v", err)
	}
}

func TestPipeAddressesTellTheEndsApart(t *testing.T) {
	a, b := Pipe(PipeOptions{})
	if a.LocalAddr() == nil || a.LocalAddr() == b.LocalAddr() {
		t.Errorf("local addresses %v and %v", a.LocalAddr(), b.LocalAddr())
	}
	if a.RemoteAddr() != b.LocalAddr() || b.RemoteAddr() != a.LocalAddr() {
		t.Error("an end's remote address is not the other's local one")
	}
}

func TestPipePanicsOnNegativeSizes(t *testing.T) {
	for _, o := range []PipeOptions{
		{A: PipeSide{SendBuffer: -1}},
		{B: PipeSide{ReceiveBuffer: -1}},
		{B: PipeSide{MaxSegment: -1}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no panic for %+v", o)
				}
			}()
			Pipe(o)
		}()
	}
}

// TestPipeKeepsTheStream runs both directions at once, with all sizes, first
// the smallest.
func TestPipeKeepsTheStream(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		size := func() int { return rnd.IntN(4) * rnd.IntN(20_000) }
		length := 200_000
		if seed < 10 {
			size = func() int { return rnd.IntN(3) }
			length = 2000
		}
		o := PipeOptions{
			A:    PipeSide{size(), size(), rnd.IntN(2) * size()},
			B:    PipeSide{size(), size(), rnd.IntN(2) * size()},
			Seed: seed,
		}
		a, b := Pipe(o)
		want := pattern(length)
		var wg sync.WaitGroup
		for i, c := range []*PipeConn{a, b} {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(i)+1))
				for rest := want; len(rest) > 0; {
					n := min(rnd.IntN(30_000), len(rest))
					if _, err := c.Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				c.CloseWrite()
			})
			wg.Go(func() {
				if got, err := io.ReadAll(c); !bytes.Equal(got, want) || err != nil {
					t.Errorf("%+v: %d bytes arrived of %d, or they differ; %v", o, len(got), len(want), err)
				}
			})
		}
		wg.Wait()
	}
}

func TestPipeClosedHoldsNoMemory(t *testing.T) {
	for name, end := range map[string]func(a, b *PipeConn){
		"FIN both ways":   func(a, b *PipeConn) { a.CloseWrite(); b.CloseWrite() },
		"unread input":    func(a, b *PipeConn) {},
		"RST by linger":   func(a, b *PipeConn) { a.SetLinger(0) },
		"RST by the peer": func(a, b *PipeConn) { b.SetLinger(0); b.Close() },
	} {
		side := PipeSide{SendBuffer: 10, ReceiveBuffer: 10}
		a, b := Pipe(PipeOptions{A: side, B: side})
		a.Write([]byte("unread"))
		b.Write([]byte("unread"))
		end(a, b)
		a.Close()
		b.Close()
		for _, f := range []*flow{a.out, b.out} {
			if f.send.head != nil || f.recv.head != nil {
				t.Errorf("%s: a pipe with both ends closed holds memory", name)
			}
		}
	}
}

// TestPipeShutdownWithdrawsTheBytesOfABlockedWrite sets the state in which a
// blocked Write has not noticed yet that it is over, which a test cannot hold
// on to otherwise.
func TestPipeShutdownWithdrawsTheBytesOfABlockedWrite(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(a, b *PipeConn)
		want string
	}{
		"CloseWrite": {func(a, b *PipeConn) { a.CloseWrite() }, "EOF"},
		"Close":      {func(a, b *PipeConn) { a.Close() }, "EOF"},
		"RST":        {func(a, b *PipeConn) { a.SetLinger(0); a.Close() }, "ECONNRESET"},
	} {
		a, b := Pipe(PipeOptions{})
		a.out.offer = []byte("withdrawn")
		tt.end(a, b)
		if n, err := b.Read(make([]byte, 10)); n != 0 || outcome(err) != tt.want {
			t.Errorf("%s: Read = %d, %v, want %s", name, n, err, tt.want)
		}
	}
}
