package membio

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// countingWriter keeps each Write apart.
type countingWriter struct{ writes [][]byte }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes = append(w.writes, bytes.Clone(p))
	return len(p), nil
}

// shortWriter takes a number of bytes, and then fails.
type shortWriter struct {
	left int
	err  error
	got  []byte
}

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	w.got = append(w.got, p[:n]...)
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

var errBroken = errors.New("broken")

func TestBufferTakesNoMoreThanItsLimit(t *testing.T) {
	for _, tt := range []struct{ limit, want int }{
		{0, DefaultLimit},
		{1, 1},
		{chunkBytes, chunkBytes},
		{chunkBytes + 1, chunkBytes + 1},
		{-1, 5 * DefaultLimit},
	} {
		b := Buffer{Limit: tt.limit}
		if free := b.Free(); free != tt.want && !(tt.limit < 0 && free == math.MaxInt) {
			t.Errorf("limit %d: Free of the empty buffer is %d", tt.limit, free)
		}
		n, err := b.Write(pattern(5 * DefaultLimit))
		if n != tt.want || b.Len() != tt.want {
			t.Errorf("limit %d: took %d bytes and holds %d, want %d", tt.limit, n, b.Len(), tt.want)
		}
		if full := tt.limit >= 0; errors.Is(err, ErrFull) != full {
			t.Errorf("limit %d: error %v", tt.limit, err)
		}
		if n, err := b.Write(nil); n != 0 || err != nil {
			t.Errorf("limit %d: an empty Write of the full buffer returned %d, %v", tt.limit, n, err)
		}
	}
}

func TestBufferLimitMayShrinkBelowWhatIsHeld(t *testing.T) {
	var b Buffer
	b.Write(pattern(100))
	b.Limit = 10
	if b.Free() != 0 {
		t.Errorf("Free = %d", b.Free())
	}
	if n, err := b.Write([]byte("x")); n != 0 || err != ErrFull {
		t.Errorf("Write = %d, %v", n, err)
	}
}

func TestBufferIdleHoldsNothing(t *testing.T) {
	bufs := make([]Buffer, 2000)
	p := pattern(10_000)
	heap := func() uint64 {
		// The second collection empties what the first left of the pools.
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range bufs {
		bufs[i].Write(p)
		switch i % 4 {
		case 0:
			bufs[i].Read(p)
		case 1:
			bufs[i].Discard(len(p))
		case 2:
			bufs[i].WriteTo(io.Discard)
		case 3:
			bufs[i].Reset()
		}
	}
	after := heap()
	// One chunk in each buffer would be 32 MB.
	if after > before+1<<20 {
		t.Errorf("%d drained buffers hold %d bytes", len(bufs), after-before)
	}
	runtime.KeepAlive(bufs)
}

func TestBufferWritesItselfInOneCall(t *testing.T) {
	want := pattern(3*chunkBytes + 5)
	b := Buffer{Limit: -1}
	b.Write(want)
	var w countingWriter
	n, err := b.WriteTo(&w)
	if n != int64(len(want)) || err != nil {
		t.Errorf("WriteTo = %d, %v", n, err)
	}
	if !slices.EqualFunc(w.writes, [][]byte{want}, bytes.Equal) {
		t.Errorf("%d writes instead of one, or other bytes", len(w.writes))
	}
	if b.Len() != 0 {
		t.Errorf("%d bytes are left", b.Len())
	}
	if n, err := b.WriteTo(&w); n != 0 || err != nil || len(w.writes) != 1 {
		t.Errorf("WriteTo of the empty buffer returned %d, %v, or wrote", n, err)
	}
}

func TestBufferKeepsWhatTheWriterDidNotTake(t *testing.T) {
	want := pattern(2*chunkBytes + 100)
	for _, take := range []int{0, 1, chunkBytes, chunkBytes + 1, len(want) - 1} {
		for _, fault := range []struct {
			name      string
			err, want error
		}{
			{"error", errBroken, errBroken},
			{"silent", nil, io.ErrShortWrite},
		} {
			b := Buffer{Limit: -1}
			b.Write(want)
			w := &shortWriter{left: take, err: fault.err}
			n, err := b.WriteTo(w)
			if n != int64(take) || !errors.Is(err, fault.want) {
				t.Errorf("%s after %d: WriteTo = %d, %v", fault.name, take, n, err)
			}
			rest, _ := io.ReadAll(&b)
			if !bytes.Equal(append(w.got, rest...), want) {
				t.Errorf("%s after %d: what was written and what is left are not the whole", fault.name, take)
			}
		}
	}
}

type lyingWriter int

func (n lyingWriter) Write([]byte) (int, error) { return int(n), nil }

func TestBufferDoesNotBelieveImpossibleCounts(t *testing.T) {
	for _, n := range []int{-1, 11} {
		var b Buffer
		b.Write(pattern(10))
		if got, err := b.WriteTo(lyingWriter(n)); got != 0 || !errors.Is(err, errInvalidWrite) || b.Len() != 10 {
			t.Errorf("a writer that says %d of 10: WriteTo = %d, %v, and %d bytes left", n, got, err, b.Len())
		}
	}
}

// TestBufferKeepsWhatTCPDidNotTake is the writev path, whose progress the
// kernel decides.
func TestBufferKeepsWhatTCPDidNotTake(t *testing.T) {
	a, b := tcpPair(t)
	a.SetWriteBuffer(32 << 10)
	b.SetReadBuffer(32 << 10)
	want := pattern(16 << 20)
	buf := Buffer{Limit: -1}
	buf.Write(want)

	a.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := buf.WriteTo(a)
	if outcome(err) != "timeout" || n == 0 {
		t.Fatalf("WriteTo = %d, %v; want some bytes and a timeout", n, err)
	}
	if buf.Len() != len(want)-int(n) {
		t.Errorf("%d of %d bytes were written, and %d are left", n, len(want), buf.Len())
	}

	var got []byte
	var wg sync.WaitGroup
	wg.Go(func() { got, _ = io.ReadAll(b) })
	a.SetWriteDeadline(time.Time{})
	if _, err := buf.WriteTo(a); err != nil {
		t.Error(err)
	}
	a.CloseWrite()
	wg.Wait()
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d arrived, or they differ", len(got), len(want))
	}
}

// TestBufferPeekStaysValidDuringWrites relies on the race detector too.
func TestBufferPeekStaysValidDuringWrites(t *testing.T) {
	want := pattern(chunkBytes + chunkBytes/2) // the last chunk has room
	b := Buffer{Limit: -1}
	b.Write(want)
	peeked := b.Peek(nil)

	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			b.Write(pattern(1000))
		}
	})
	for range 100 {
		if !bytes.Equal(bytes.Join(peeked, nil), want) {
			t.Fatal("peeked bytes changed")
		}
	}
	wg.Wait()
	b.Discard(len(want))
	got, _ := io.ReadAll(&b)
	if !bytes.Equal(got, bytes.Repeat(pattern(1000), 100)) {
		t.Error("what was written during the Peek is damaged")
	}
}

func TestBufferPeekedSliceDoesNotGrowIntoTheBuffer(t *testing.T) {
	var b Buffer
	b.Write([]byte("ab"))
	peeked := b.Peek(nil)[0]
	b.Write([]byte("cd"))
	_ = append(peeked, "XY"...)
	if got := string(bytes.Join(b.Peek(nil), nil)); got != "abcd" {
		t.Errorf("buffer holds %q after an append to a peeked slice", got)
	}
}

func TestBufferPeekAppends(t *testing.T) {
	var b Buffer
	b.Write([]byte("held"))
	got := b.Peek(net.Buffers{[]byte("before")})
	if diff := cmp.Diff(net.Buffers{[]byte("before"), []byte("held")}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBufferDiscardPanicsBeyondItsEnd(t *testing.T) {
	for _, n := range []int{-1, 4} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Discard(%d) of 3 bytes did not panic", n)
				}
			}()
			var b Buffer
			b.Write([]byte("abc"))
			b.Discard(n)
		}()
	}
}

// FuzzBuffer holds two buffers, which share the pool, against slices of bytes.
// Each operation is three bytes: what, and an amount up to four chunks.
func FuzzBuffer(f *testing.F) {
	f.Add(0, []byte{0, 255, 255, 1, 0, 16, 2, 64, 0, 5, 200, 0, 3, 1, 1})
	f.Add(-1, []byte{0, 255, 255, 0, 255, 255, 6, 100, 3, 8, 128, 0, 9, 1, 1, 4, 0, 0})
	f.Add(100, []byte{0, 0, 200, 1, 0, 50, 0, 0, 80, 7, 0, 0, 0, 0, 9})
	f.Add(-1, []byte{0, 70, 0, 1, 2, 0, 12, 0, 0, 0, 1, 0, 12, 0, 0, 3, 75, 0, 12, 0, 0})
	f.Fuzz(func(t *testing.T, limit int, ops []byte) {
		var bufs [2]Buffer
		var models [2][]byte
		bufs[0].Limit, bufs[1].Limit = limit, -1
		next := byte(0) // what is written is never the same for long
		for len(ops) >= 3 {
			op, which := ops[0]>>1, ops[0]&1
			amount := int(ops[1])<<8 | int(ops[2])
			ops = ops[3:]
			b, m := &bufs[which], &models[which]
			switch op % 7 {
			case 0:
				p := pattern(amount)
				for i := range p {
					p[i] += next
				}
				next++
				free := b.Free()
				n, err := b.Write(p)
				if want := min(amount, free); n != want || (err == ErrFull) != (want < amount) {
					t.Fatalf("Write of %d with %d free = %d, %v", amount, free, n, err)
				}
				*m = append(*m, p[:n]...)
			case 1:
				p := make([]byte, amount)
				n, err := b.Read(p)
				want := min(amount, len(*m))
				if n != want || (err == io.EOF) != (amount > 0 && want == 0) {
					t.Fatalf("Read of %d from %d = %d, %v", amount, len(*m), n, err)
				}
				if !bytes.Equal(p[:n], (*m)[:n]) {
					t.Fatal("Read gave other bytes")
				}
				*m = (*m)[n:]
			case 2:
				n := min(amount, len(*m))
				b.Discard(n)
				*m = (*m)[n:]
			case 3:
				w := &shortWriter{left: amount, err: errBroken}
				n, err := b.WriteTo(w)
				want := min(amount, len(*m))
				if int(n) != want || (err != nil) != (want < len(*m)) {
					t.Fatalf("WriteTo of %d to a writer that takes %d = %d, %v", len(*m), amount, n, err)
				}
				if !bytes.Equal(w.got, (*m)[:n]) {
					t.Fatal("WriteTo gave other bytes")
				}
				*m = (*m)[n:]
			case 4:
				n := min(amount, bufs[0].Len())
				bufs[0].moveTo(&bufs[1], n)
				models[1] = append(models[1], models[0][:n]...)
				models[0] = models[0][n:]
			case 5:
				b.Reset()
				*m = nil
			case 6:
				bufs[1].Append(&bufs[0])
				models[1] = append(models[1], models[0]...)
				models[0] = nil
			}
			for i := range bufs {
				checkBuffer(t, &bufs[i], models[i])
			}
		}
	})
}

func checkBuffer(t *testing.T, b *Buffer, model []byte) {
	t.Helper()
	if b.Len() != len(model) {
		t.Fatalf("Len = %d, want %d", b.Len(), len(model))
	}
	if got := bytes.Join(b.Peek(nil), nil); !bytes.Equal(got, model) {
		t.Fatal("the buffer holds other bytes")
	}
	if b.Len() == 0 && (b.head != nil || b.tail != nil) {
		t.Fatal("the empty buffer holds a chunk")
	}
	for c := b.head; c != nil; c = c.next {
		if c.start == c.end {
			t.Fatal("a chunk in the list is empty")
		}
		if c.next == nil && c != b.tail {
			t.Fatal("the tail is not the last chunk")
		}
	}
}
