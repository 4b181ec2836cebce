package torture

import (
	"bytes"
	"math/rand/v2"
	"slices"
)

// sampleBytes is how many bytes in a row tell bytes out of their order from bytes that were never sent: in a random
// stream of any length that a trial sends, as many do not occur twice.
const sampleBytes = 16

// sample returns the first bytes that came in place of the right ones, and reads on if there are too few of them.
func (s *side) sample(wrong []byte) []byte {
	sample := slices.Clone(wrong[:min(len(wrong), sampleBytes)])
	for len(sample) < sampleBytes {
		more := make([]byte, sampleBytes-len(sample))
		n, err := s.conn.Read(more)
		sample = append(sample, more[:n]...)
		if err != nil {
			break
		}
	}
	return sample
}

// origin finds the sample in the first limit bytes of the stream that seed generates; it is negative if they are not there.
func origin(seed [32]byte, sample []byte, limit int64) int64 {
	if len(sample) < sampleBytes {
		return -1
	}
	stream := rand.NewChaCha8(seed)
	window := make([]byte, 0, sampleBytes+chunkBytes)
	for at := int64(0); at < limit; {
		kept := copy(window[:cap(window)], window[max(0, len(window)-sampleBytes+1):])
		window = window[:kept+int(min(chunkBytes, limit-at))]
		stream.Read(window[kept:])
		if i := bytes.Index(window, sample); i >= 0 {
			return at - int64(kept) + int64(i)
		}
		at += int64(len(window) - kept)
	}
	return -1
}
