package proxy

import "sync"

// The sizes in bytes of what a half of a pair reads at once. One that waits with
// nothing to carry holds waitingRead. More than a record would not come at once from
// the TLS side, and would be held for each TLS peer that reads slowly.
const (
	waitingRead = 1 << 10
	fullRead    = 16 << 10
)

var fullBuffers = sync.Pool{New: func() any { return new([fullRead]byte) }}

// A buffer is what a half reads into: small for as long as little comes.
type buffer struct {
	small [waitingRead]byte
	full  *[fullRead]byte // from the pool, or nil
	last  int             // bytes that the last read has put there
}

// next returns where to read to. What was read before is gone.
func (b *buffer) next() []byte {
	switch {
	case b.full == nil && b.last == waitingRead:
		b.full = fullBuffers.Get().(*[fullRead]byte)
	case b.full != nil && b.last <= waitingRead:
		b.free()
	}
	if b.full != nil {
		return b.full[:]
	}
	return b.small[:]
}

// take returns the n bytes that were read.
func (b *buffer) take(n int) []byte {
	b.last = n
	if b.full != nil {
		return b.full[:n]
	}
	return b.small[:n]
}

// free gives back what is not needed for waiting.
func (b *buffer) free() {
	if b.full != nil {
		fullBuffers.Put(b.full)
		b.full = nil
	}
}
