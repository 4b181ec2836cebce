package membio

import (
	"io"
	"testing"
)

var raceEnabled bool

// TestSteadyStateAllocatesNothing covers every path on which bytes pass.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	record := pattern(16<<10 + 300) // more than a chunk
	got := make([]byte, len(record))

	var buf Buffer
	conn := NewConn(&recorder{discard: true})
	a, b := Pipe(PipeOptions{A: PipeSide{SendBuffer: 4 << 10}, B: PipeSide{ReceiveBuffer: 32 << 10, MaxSegment: 9000}})
	ahead := NewConn(b)

	for _, path := range []struct {
		name string
		run  func()
	}{
		{"Buffer write and read", func() {
			buf.Write(record)
			buf.Read(got)
		}},
		{"Buffer WriteTo", func() {
			buf.Write(record)
			buf.WriteTo(io.Discard)
		}},
		{"Conn write with nothing pending", func() { conn.Write(record) }},
		{"Conn write with pending", func() {
			conn.Queue(record[:200], record)
			conn.Write(record[:300])
		}},
		{"Pipe", func() {
			a.Write(record)
			io.ReadFull(b, got)
		}},
		{"Conn read ahead over Pipe", func() {
			a.Write(record)
			ahead.ReadAhead(100)
			io.ReadFull(ahead, got)
		}},
	} {
		if n := testing.AllocsPerRun(200, path.run); n > 0 {
			t.Errorf("%s: %v allocations per run, want 0", path.name, n)
		}
	}
}
