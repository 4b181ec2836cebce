package membio

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// segments reads a stream of n bytes, written in pieces of the given size, and
// returns the sizes of the Reads.
func segments(o PipeOptions, n, piece int) []int {
	o.A.SendBuffer = n
	a, b := Pipe(o)
	for left := n; left > 0; left -= piece {
		a.Write(make([]byte, min(piece, left)))
	}
	a.Close()
	var sizes []int
	p := make([]byte, n)
	for {
		n, err := b.Read(p)
		if err != nil {
			return sizes
		}
		sizes = append(sizes, n)
	}
}

func TestPipeSegmentsFollowTheSeed(t *testing.T) {
	const size, maxSegment = 5000, 50
	o := PipeOptions{B: PipeSide{ReceiveBuffer: size, MaxSegment: maxSegment}, Seed: 7}
	want := segments(o, size, size)
	largest, smallest := 0, size
	for _, n := range want {
		largest, smallest = max(largest, n), min(smallest, n)
	}
	if smallest != 1 || largest != maxSegment {
		t.Errorf("segments of %d to %d bytes in %d bytes, want all of 1 to %d", smallest, largest, size, maxSegment)
	}
	for _, piece := range []int{1, 33, 1000} {
		if diff := cmp.Diff(want, segments(o, size, piece)); diff != "" {
			t.Errorf("written in pieces of %d, the stream is cut elsewhere:\n%s", piece, diff)
		}
	}
	for _, receive := range []int{0, maxSegment} {
		o.B.ReceiveBuffer = receive
		if diff := cmp.Diff(want, segments(o, size, size)); diff != "" {
			t.Errorf("with a receive buffer of %d, the stream is cut elsewhere:\n%s", receive, diff)
		}
	}
	o.Seed = 8
	if cmp.Equal(want, segments(o, size, size)) {
		t.Error("another seed gave the same segments")
	}
	o.B.MaxSegment = 0
	if diff := cmp.Diff([]int{size}, segments(PipeOptions{B: PipeSide{ReceiveBuffer: size}}, size, 10)); diff != "" {
		t.Errorf("without segments:\n%s", diff)
	}
}

func TestPipeSegmentArrivesAsAWhole(t *testing.T) {
	const maxSegment = 50
	cuts := newCutter(maxSegment, 7, 0)
	first := cuts.limit(maxSegment)
	cuts.advance(first)
	second := cuts.limit(maxSegment)

	a, b := Pipe(PipeOptions{
		A:    PipeSide{SendBuffer: 1000},
		B:    PipeSide{ReceiveBuffer: first + second - 1, MaxSegment: maxSegment},
		Seed: 7,
	})
	a.Write(make([]byte, 1000))
	if b.Unread() != first {
		t.Errorf("%d bytes have arrived, want the first segment, %d", b.Unread(), first)
	}
	b.Read(make([]byte, 1))
	if want := first - 1 + second; b.Unread() != want {
		t.Errorf("%d bytes have arrived with room for the second segment, want %d", b.Unread(), want)
	}

	a, b = Pipe(PipeOptions{
		A:    PipeSide{SendBuffer: 1000},
		B:    PipeSide{ReceiveBuffer: first - 1, MaxSegment: maxSegment},
		Seed: 7,
	})
	a.Write(make([]byte, 1000))
	if b.Unread() != first-1 {
		t.Errorf("%d bytes have arrived of a segment of %d, want the %d for which there is room", b.Unread(), first, first-1)
	}
}
