package membio

import "math/rand/v2"

// flow is one direction of a pipe. Bytes go from offer to send to recv to the
// reader; a queue of capacity zero is skipped.
//
// Everything but the channels is guarded by pipe.mu. After each operation as
// much as can move has moved, so that with a receive queue at all, an empty one
// means that nothing is behind it.
type flow struct {
	// Signals for the one Read and the one Write that may be waiting.
	// Capacity one, so that a signal is kept for one about to wait; the woken
	// looks at the state again.
	readable chan struct{}
	writable chan struct{}

	sendCap, recvCap int
	send, recv       Buffer
	offer            []byte // the rest of the Write in progress; see offered
	fin              bool   // the writer sends no more
	broken           bool   // an RST came before the FIN could arrive

	moveCuts, readCuts cutter // the same cuts, for two places in the stream
}

func newFlow(sendCap int, to PipeSide, seed, direction uint64) *flow {
	f := &flow{
		readable: make(chan struct{}, 1),
		writable: make(chan struct{}, 1),
		sendCap:  sendCap,
		recvCap:  to.ReceiveBuffer,
		moveCuts: newCutter(to.MaxSegment, seed, direction),
		readCuts: newCutter(to.MaxSegment, seed, direction),
	}
	f.send.Limit, f.recv.Limit = -1, -1 // sendCap and recvCap are, and may be zero
	return f
}

func wake(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// offered returns what the Write in progress may still give. After a shutdown
// it is nothing, even while that Write has not noticed yet.
func (f *flow) offered() []byte {
	if f.fin {
		return nil
	}
	return f.offer
}

// accept takes the first n bytes of the offer.
func (f *flow) accept(n int) {
	f.offer = f.offer[n:]
	if len(f.offer) == 0 {
		wake(f.writable)
	}
}

// finArrived reports whether the FIN, and so every byte before it, has
// reached the receiving side. The bytes may be unread.
func (f *flow) finArrived() bool { return f.fin && !f.broken && f.send.Len() == 0 }

// arriving reports whether the window lets bytes through that have not
// reached the receive queue. A side without one is always ready for bytes.
func (f *flow) arriving() bool {
	return f.send.Len()+len(f.offered()) > 0 && (f.recvCap == 0 || f.recv.Len() < f.recvCap)
}

// acceptLost takes as many bytes of the offer as the queues have room for, and
// drops them: a writer learns that nobody is there by the call after the one
// whose bytes were lost.
func (f *flow) acceptLost() {
	offered := len(f.offered())
	n := min(offered, f.sendCap-f.send.Len())
	f.accept(n + min(offered-n, f.recvCap-f.recv.Len()))
}

// move moves bytes forward as far as there is room.
func (f *flow) move() {
	for {
		ahead := f.send.Len()
		if ahead == 0 {
			ahead = len(f.offered())
		}
		n := f.moveCuts.limit(ahead)
		if room := f.recvCap - f.recv.Len(); n > room {
			if f.moveCuts.max > 0 && f.recv.Len() > 0 {
				break // a segment waits until it fits as a whole
			}
			n = room
		}
		if n == 0 {
			break
		}
		if f.send.Len() > 0 {
			f.send.moveTo(&f.recv, n)
		} else {
			f.recv.Write(f.offer[:n])
			f.accept(n)
		}
		f.moveCuts.advance(n)
	}
	if n := min(len(f.offered()), f.sendCap-f.send.Len()); n > 0 {
		f.send.Write(f.offer[:n])
		f.accept(n)
	}
	if f.recv.Len()+f.send.Len()+len(f.offered()) > 0 {
		wake(f.readable)
	}
}

// take gives the reader bytes of one segment. The caller moves others up.
func (f *flow) take(p []byte) int {
	var n int
	switch {
	case f.recv.Len() > 0:
		n = f.readCuts.limit(min(len(p), f.recv.Len()))
		f.recv.Read(p[:n])
	case f.send.Len() > 0:
		n = f.readCuts.limit(min(len(p), f.send.Len()))
		f.send.Read(p[:n])
	case len(f.offered()) > 0:
		n = f.readCuts.limit(min(len(p), len(f.offer)))
		copy(p, f.offer[:n])
		f.accept(n)
	}
	f.readCuts.advance(n)
	return n
}

// cutter cuts a stream into segments of 1 to max bytes, the same for the same
// seed however it is called. With a max of 0 it does not cut.
type cutter struct {
	max  int
	left int // of the current segment
	rand *rand.Rand
}

func newCutter(maxSegment int, seed, direction uint64) cutter {
	c := cutter{max: maxSegment}
	if maxSegment > 0 {
		c.rand = rand.New(rand.NewPCG(seed, direction))
	}
	return c
}

// limit returns how many of the next n bytes are in one segment.
func (c *cutter) limit(n int) int {
	if c.max == 0 {
		return n
	}
	if c.left == 0 {
		c.left = 1 + c.rand.IntN(c.max)
	}
	return min(n, c.left)
}

func (c *cutter) advance(n int) {
	if c.max > 0 {
		c.left -= n
	}
}
