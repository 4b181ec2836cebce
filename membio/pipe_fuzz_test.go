package membio

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzPipe lets one goroutine do anything with both ends. Calls that would
// block time out, in virtual time. Whatever happens, a reader gets a prefix
// of what its peer's Writes have counted, and all of it unless somebody was
// reset.
func FuzzPipe(f *testing.F) {
	f.Add([]byte{10, 10, 0, 10, 10, 0, 0}, []byte{0, 15, 3, 4, 6, 0, 7, 100, 12, 0})
	f.Add([]byte{5, 0, 3, 0, 5, 3, 1}, []byte{0, 15, 3, 4, 18, 0, 1, 9, 1, 9, 2, 50})
	f.Add([]byte{100, 20, 7, 9, 30, 0, 0}, []byte{0, 90, 14, 0, 12, 0, 15, 0, 3, 9, 5, 9, 16, 0, 18, 0})
	f.Fuzz(func(t *testing.T, setup, ops []byte) {
		if len(setup) < 7 {
			return
		}
		o := PipeOptions{
			A:                   PipeSide{int(setup[0]), int(setup[1]), int(setup[2])},
			B:                   PipeSide{int(setup[3]), int(setup[4]), int(setup[5])},
			Seed:                uint64(setup[6] >> 1),
			RSTDiscardsReceived: setup[6]&1 == 1,
		}
		synctest.Test(t, func(t *testing.T) {
			a, b := Pipe(o)
			ends := []*modelEnd{{t: t, PipeConn: a, side: o.A}, {t: t, PipeConn: b, side: o.B}}
			ends[0].peer, ends[1].peer = ends[1], ends[0]
			for ; len(ops) >= 2; ops = ops[2:] {
				ends[ops[0]&1].do(ops[0]>>1%10, int(ops[1]))
				for _, e := range ends {
					e.check()
				}
			}
			for _, e := range ends {
				e.CloseWrite()
				e.finished = true
			}
			for _, e := range ends {
				for e.do(3, 100) == nil {
				}
			}
		})
	})
}

// modelEnd is an end of a pipe with what is known of it.
type modelEnd struct {
	*PipeConn
	t    *testing.T
	side PipeSide
	peer *modelEnd

	written  []byte // counted by Write
	read     int    // of the peer's written
	next     byte
	finished bool // writes no more
	readShut bool
	closed   bool
}

func (e *modelEnd) do(op byte, amount int) error {
	t := e.t
	e.SetDeadline(time.Now().Add(time.Millisecond))
	switch op {
	case 0, 1, 2:
		p := make([]byte, amount)
		for i := range p {
			p[i] = e.next
			e.next++
		}
		n, err := e.Write(p)
		e.next -= byte(len(p) - n)
		e.written = append(e.written, p[:n]...)
		switch got := outcome(err); {
		case got == "ok" && n == amount:
		case got == "closed" && e.closed:
		case got == "timeout" && n < amount && e.Unsent() == e.side.SendBuffer:
		case got == "EPIPE" && (e.finished || e.pipe.reset):
		case got == "ECONNRESET" && e.pipe.reset:
		default:
			t.Fatalf("Write of %d = %d, %v; finished %v, reset %v", amount, n, err, e.finished, e.pipe.reset)
		}
		return err
	case 3, 4, 5:
		p := make([]byte, amount+1)
		n, err := e.Read(p)
		want := e.peer.written[e.read:]
		if n > len(want) || !bytes.Equal(p[:n], want[:n]) {
			t.Fatal("Read gave other bytes than were written")
		}
		if e.side.MaxSegment > 0 && n > e.side.MaxSegment {
			t.Fatalf("Read gave %d bytes with segments of %d", n, e.side.MaxSegment)
		}
		e.read += n
		switch got := outcome(err); {
		case got == "ok" && n > 0:
		case n > 0:
			t.Fatalf("Read gave %d bytes and %v", n, err)
		case got == "closed" && e.closed:
		case err == io.EOF && (e.readShut || e.peer.finished && len(want) == 0):
		case got == "timeout" && len(want) == 0 && !e.peer.finished:
		case got == "ECONNRESET" && e.pipe.reset:
		default:
			t.Fatalf("Read = %v with %d bytes to come; finished %v, reset %v", err, len(want), e.peer.finished, e.pipe.reset)
		}
		return err
	case 6:
		e.CloseWrite()
		e.finished = true
	case 7:
		e.CloseRead()
		e.readShut = true
	case 8:
		e.SetLinger(0)
	case 9:
		e.Close()
		e.finished, e.readShut, e.closed = true, true, true
	}
	return nil
}

func (e *modelEnd) check() {
	t := e.t
	if e.Unsent() > e.side.SendBuffer || e.Unread() > e.side.ReceiveBuffer {
		t.Fatalf("%d unsent and %d unread with buffers of %+v", e.Unsent(), e.Unread(), e.side)
	}
	held := e.peer.Unsent() + e.Unread()
	if got := len(e.peer.written) - e.read; held != got && !e.pipe.reset && !e.closed {
		t.Fatalf("%d bytes are under way, and the queues hold %d", got, held)
	}
}
