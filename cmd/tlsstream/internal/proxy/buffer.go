package proxy

import "sync"

// The sizes in bytes of what a half of a pair reads at once.
const (
	// waitingRead is what a half holds that waits with nothing to carry.
	waitingRead = 1 << 10
	// fullRead is a record. More would not come at once from the TLS side, and
	// would be held for each TLS peer that reads slowly.
	fullRead = 16 << 10
	// sealedRead is what is still less than 16 KiB when it is sealed, also in the
	// small records that crypto/tls begins with: the stream above the wire then holds
	// one buffer of that size for it, and not two, and copies nothing.
	sealedRead = 16000
)

var fullBuffers = sync.Pool{New: func() any { return new([fullRead]byte) }}

// A buffer is what a half reads into: small for as long as little comes.
type buffer struct {
	limit int // of full
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
		return b.full[:b.limit]
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
