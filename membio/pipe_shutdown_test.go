package membio

import (
	"io"
	"math"
	"testing"
	"testing/synctest"
)

// TestPipeShutdownEndsABlockedCall has the call on a, and what ends it.
func TestPipeShutdownEndsABlockedCall(t *testing.T) {
	const held = 20 // by both queues
	read := func(c *PipeConn) (int, error) { return c.Read(make([]byte, 1)) }
	write := func(c *PipeConn) (int, error) { return c.Write(make([]byte, held+1)) }
	for _, tt := range []struct {
		name string
		call func(*PipeConn) (int, error)
		end  func(a, b *PipeConn)
		n    int
		want string
	}{
		{"Read by CloseRead", read, func(a, b *PipeConn) { a.CloseRead() }, 0, "EOF"},
		{"Read by the peer's FIN", read, func(a, b *PipeConn) { b.CloseWrite() }, 0, "EOF"},
		{"Read by the peer's RST", read, func(a, b *PipeConn) { b.SetLinger(0); b.Close() }, 0, "ECONNRESET"},
		{"Write by CloseWrite", write, func(a, b *PipeConn) { a.CloseWrite() }, held, "EPIPE"},
		{"Write by the peer's Close", write, func(a, b *PipeConn) { b.Close() }, held, "ECONNRESET"},
		{"Write by Close", write, func(a, b *PipeConn) { a.Close() }, held, "closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe(PipeOptions{A: PipeSide{SendBuffer: held / 2}, B: PipeSide{ReceiveBuffer: held / 2}})
				done := make(chan struct{})
				go func() {
					defer close(done)
					n, err := tt.call(a)
					if n != tt.n || outcome(err) != tt.want {
						t.Errorf("%d, %v, want %d, %s", n, err, tt.n, tt.want)
					}
				}()
				synctest.Wait()
				tt.end(a, b)
				<-done
				if tt.want == "EPIPE" || tt.want == "closed" {
					// What was accepted flows on; the byte that was not, does not.
					if got, err := io.ReadAll(b); len(got) != held || err != nil {
						t.Errorf("the peer read %d bytes, %v, want %d", len(got), err, held)
					}
				}
			})
		})
	}
}

// TestPipeTakesBuffersOfAnySize: nothing that is computed from them overflows.
func TestPipeTakesBuffersOfAnySize(t *testing.T) {
	side := PipeSide{SendBuffer: math.MaxInt, ReceiveBuffer: math.MaxInt}
	a, b := Pipe(PipeOptions{A: side, B: side})
	b.Close()
	if n, err := a.Write([]byte("lost")); n != 4 || err != nil {
		t.Errorf("Write to a side that has closed: %d, %v, want 4 and a reset that comes later", n, err)
	}
	a.Close()
}

// TestPipeShutdownOfBothHalvesRejectsBytesOnTheirWay: they have not arrived
// for want of room, and arrive when the reader makes some.
func TestPipeShutdownOfBothHalvesRejectsBytesOnTheirWay(t *testing.T) {
	a, b := Pipe(PipeOptions{A: PipeSide{SendBuffer: 10}, B: PipeSide{ReceiveBuffer: 3}})
	a.Write([]byte("queued"))
	b.CloseWrite()
	b.CloseRead()
	if a.Unsent() != 3 {
		t.Errorf("%d bytes unsent before the reader made room, want 3", a.Unsent())
	}
	p := make([]byte, 1)
	if n, err := b.Read(p); n != 1 || err != nil {
		t.Fatalf("Read = %d, %v", n, err)
	}
	got, err := io.ReadAll(b)
	if string(got) != "ue" || outcome(err) != "ECONNRESET" {
		t.Errorf("then read %q, %v", got, err)
	}
	if a.Unsent() != 0 {
		t.Errorf("%d bytes unsent after a reset", a.Unsent())
	}

	// Without a receive queue they arrive at once.
	a, b = Pipe(PipeOptions{A: PipeSide{SendBuffer: 10}})
	a.Write([]byte("queued"))
	b.CloseWrite()
	b.CloseRead()
	if n, err := b.Read(p); n != 0 || outcome(err) != "ECONNRESET" || a.Unsent() != 0 {
		t.Errorf("Read = %d, %v, with %d bytes unsent", n, err, a.Unsent())
	}
}

// TestPipeWriteToAClosedPeerCountsWhatTheQueuesTook, as the kernel's does: the
// writer cannot know yet that nobody is there.
func TestPipeWriteToAClosedPeerCountsWhatTheQueuesTook(t *testing.T) {
	a, b := Pipe(PipeOptions{A: PipeSide{SendBuffer: 10}, B: PipeSide{ReceiveBuffer: 5}})
	b.Close()
	if n, err := a.Write(make([]byte, 30)); n != 15 || outcome(err) != "EPIPE" {
		t.Errorf("Write = %d, %v, want 15, EPIPE", n, err)
	}
}
