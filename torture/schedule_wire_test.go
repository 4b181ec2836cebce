package torture

import (
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
)

// reason is what matters of an error of a transport.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &errno):
		return errno.Error()
	case err == io.EOF:
		return "EOF"
	}
	return "closed"
}

// Whatever does not block on a wire does the same on a membio.Pipe, which has been held to the kernel.
func TestWireKeepsTheRulesOfThePipe(t *testing.T) {
	type step struct {
		Side   int
		Call   string
		N      int
		Err    string
		Unread int
	}
	resets := 0
	for seed := range uint64(4000) {
		random := rand.New(rand.NewPCG(seed, 0))
		o := wireOptions{sendBuffer: random.IntN(20), receiveBuffer: random.IntN(20), rstDiscards: random.IntN(2) == 0}
		w := newWire(o)
		side := membio.PipeSide{SendBuffer: o.sendBuffer, ReceiveBuffer: o.receiveBuffer}
		a, b := membio.Pipe(membio.PipeOptions{A: side, B: side, RSTDiscardsReceived: o.rstDiscards})
		pipe := [2]*membio.PipeConn{a, b}

		var onWire, onPipe []step
		for range 20 {
			side := random.IntN(2)
			free := o.sendBuffer - w.ends[side].send.len() + o.receiveBuffer - w.ends[1-side].recv.len()
			buf := make([]byte, 1+random.IntN(30))
			var wired, piped step
			switch random.IntN(8) {
			case 0, 1, 2:
				if w.writeError(side) == nil && free < len(buf) {
					continue // would block
				}
				w.startWrite(side, buf)
				left, err := w.endWrite(side)
				wired = step{Call: "write", N: len(buf) - left, Err: reason(err)}
				n, err := pipe[side].Write(buf)
				piped = step{Call: "write", N: n, Err: reason(err)}
			case 3, 4, 5:
				if ok, _ := w.readable(side); !ok {
					continue
				}
				n, err := w.read(side, buf)
				wired = step{Call: "read", N: n, Err: reason(err)}
				n, err = pipe[side].Read(buf)
				piped = step{Call: "read", N: n, Err: reason(err)}
			case 6:
				wired = step{Call: "half-close", Err: reason(w.closeWrite(side))}
				piped = step{Call: "half-close", Err: reason(pipe[side].CloseWrite())}
			case 7:
				if random.IntN(2) == 0 {
					continue
				}
				if random.IntN(4) == 0 && !w.ends[side].isClosed {
					w.ends[side].lingerZero = true
					pipe[side].SetLinger(0)
				}
				wired = step{Call: "close", Err: reason(w.close(side))}
				piped = step{Call: "close", Err: reason(pipe[side].Close())}
			}
			wired.Side, piped.Side = side, side
			wired.Unread, piped.Unread = w.ends[1-side].recv.len(), pipe[1-side].Unread()
			onWire, onPipe = append(onWire, wired), append(onPipe, piped)
		}
		if diff := cmp.Diff(onPipe, onWire); diff != "" {
			t.Fatalf("seed %d, %+v: (-pipe +wire)\n%s", seed, o, diff)
		}
		if w.reset {
			resets++
		}
	}
	if resets < 100 {
		t.Errorf("only %d runs met a reset", resets)
	}
}

// A write that blocks gives its bytes as the peer reads, and ends when the last are taken.
func TestWireBlocksAWriteUntilThereIsRoom(t *testing.T) {
	for _, buffer := range []int{0, 1, 3} {
		w := newWire(wireOptions{sendBuffer: buffer, receiveBuffer: buffer})
		w.startWrite(clientSide, []byte("0123456789"))
		got, buf := []byte(nil), make([]byte, 2)
		for !w.wrote(clientSide) {
			if ok, end := w.readable(serverSide); !ok || end != nil {
				t.Fatalf("buffers of %d: blocked with %q", buffer, got)
			}
			n, err := w.read(serverSide, buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
		}
		if want := 10 - 2*buffer; len(got) < want || len(got) > want+2 || string(got) != "0123456789"[:len(got)] {
			t.Errorf("buffers of %d: the write was over when the peer had read %q", buffer, got)
		}
	}
}
