package membio

import (
	"runtime"
	"testing"
)

// A chunk is as large as what the allocator takes for it, and what is a little longer than
// one, as a record of full size is, does not take two.
func TestBufferTakesLittleMoreMemoryThanItHolds(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	const n = 1000
	const largeRecord = 5 + 16<<10 + 17 // of TLS 1.3, without padding
	for _, test := range []struct{ hold, limit int }{
		{1, 256},
		{smallChunkBytes, 256},
		{smallChunkBytes + 1, 16 << 10},
		{chunkBytes, 16 << 10},
		{largeRecord, 16<<10 + 256},
	} {
		p := pattern(test.hold)
		heap := func() int {
			runtime.GC()
			runtime.GC() // the second empties the pools
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		bufs := make([]Buffer, n)
		before := heap()
		for i := range bufs {
			bufs[i].Write(p)
		}
		after := heap()
		if each := (after - before) / n; each > test.limit {
			t.Errorf("a buffer with %d bytes takes %d, want %d at most", test.hold, each, test.limit)
		}
		runtime.KeepAlive(bufs)
	}
}

// A hundred short writes do not become a hundred pieces.
func TestBufferGathersShortWrites(t *testing.T) {
	var b Buffer
	for range 100 {
		b.Write(pattern(100))
	}
	if pieces := len(b.Peek(nil)); pieces > 2 {
		t.Errorf("10,000 bytes are in %d pieces", pieces)
	}
}
