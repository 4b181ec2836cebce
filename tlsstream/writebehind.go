package tlsstream

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Theory of operation of Options.WriteBehind.
//
//	Write ─► gathered plaintext ─► crypto/tls seals ─► gate ─► pending ─► transport
//	(memory)                       └─────────────── the flusher ──────────────────┘
//
// Write appends to blocks of one record's size and returns. A goroutine, the
// flusher, exists while there is anything to send: in turns it takes what has been
// gathered, at most one slice, seals it and sends it, as a Write of that length
// without WriteBehind would. What is written meanwhile is what it takes in its next
// turn: the slower the transport, the fuller the records. It waits for nothing else,
// so that bytes never wait for more bytes.
//
// Each turn holds Conn.writing, for which the other calls that send queue up
// behind it; Write never takes it. Order is kept because only one turn at a time
// takes blocks, and because gathered bytes have no sequence number yet: tickets,
// KeyUpdates and alerts that were sealed earlier leave earlier.
//
// A stream that was quiet needs no flusher: its first Write seals and sends by
// itself, if the transport is a socket that can be asked without waiting. Where the
// kernel has no room the rest is pending, and a flusher goes on. So no Write ever
// waits for the transport while there is room in memory.
//
// A flusher that runs into the write deadline ends and leaves everything as it is;
// the next call with a later deadline starts another. Any other error is final.

const (
	// gatherBlock is the plaintext of a record of full size (RFC 8446 5.1).
	gatherBlock = 16 << 10

	// turnBlocks is how many blocks one turn of the flusher takes: one slice.
	turnBlocks = writeSlice / gatherBlock

	// quietTime is how long nothing must have been written for a Write to send by
	// itself, unless Read has returned data meanwhile: then it is this side's turn
	// to speak, and the peer waits. It is longer than a short write to a socket and
	// the start of a goroutine, which a Write in a run of them saves, and shorter
	// than anybody's reaction.
	quietTime = 50 * time.Microsecond
)

type gathered [gatherBlock]byte

var gatherPool = sync.Pool{New: func() any { return new(gathered) }}

// A behind is the plaintext that a Conn's Writes have gathered, and the state of
// its flusher. A nil *behind is of a Conn without WriteBehind.
type behind struct {
	c      *Conn
	limit  int
	run    func()      // flush, kept so that starting it allocates nothing
	turned atomic.Bool // Read has returned data since the last Write that sent by itself

	// changed is of everything below. mu is taken last, and is held across
	// nothing but memory.
	mu      sync.Mutex
	changed sync.Cond

	// Guarded by mu.
	blocks   []*gathered               // all but the last are full
	few      [turnBlocks + 1]*gathered // what blocks begins as, and is when the stream is idle
	fill     int                       // bytes in the last block
	size     int                       // bytes in blocks
	flushing bool                      // there is a flusher, or a Write that sends by itself
	occupied bool                      // a Write in pieces waits for room; no other may begin
	closed   bool                      // CloseWrite was called
	renewed  bool                      // the deadline was set anew while flushing
	late     error                     // the timeout that the last flusher ended with; nil if another was started
	err      error                     // final
	last     time.Duration             // since processStart: when flushing became false

	// Bytes since the beginning, guarded by mu. What Flush waits for is that sent
	// reaches what written is now.
	written int64 // that Write has taken
	sent    int64 // whose records the transport has taken
}

func newBehind(c *Conn, limit int) *behind {
	if limit == 0 {
		return nil
	}
	b := &behind{c: c, limit: limit}
	b.run = b.flush
	b.changed.L = &b.mu
	b.blocks = b.few[:0]
	return b
}

// write is Conn.Write, after the handshake.
func (b *behind) write(p []byte) (int, error) {
	c := b.c
	if c.closing.Load() {
		return 0, c.closedError()
	}
	if err := c.refusal(); err != nil {
		return 0, err
	}
	if len(p) > 0 && c.writeDeadline.passed() {
		return 0, c.opError("write", os.ErrDeadlineExceeded)
	}
	b.mu.Lock()
	if b.flushing && !b.occupied && b.err == nil && !b.closed && len(p) <= b.limit-b.size {
		b.gatherLocked(p)
		b.mu.Unlock()
		return len(p), nil
	}
	n, err := b.writeLocked(p)
	b.mu.Unlock()
	c.deliver()
	return n, err
}

func (b *behind) writeLocked(p []byte) (int, error) {
	for b.occupied {
		if err := b.waitLocked(); err != nil {
			return 0, err
		}
	}
	if err := b.refusalLocked(); err != nil {
		return 0, err
	}
	if b.mayWriteThroughLocked(p) && b.c.writing.TryLock() {
		return b.writeThroughLocked(p)
	}
	n := b.gatherLocked(p)
	b.startLocked()
	if n == len(p) {
		return n, nil
	}
	b.occupied = true
	var err error
	for err == nil && n < len(p) {
		if err = b.waitLocked(); err == nil {
			n += b.gatherLocked(p[n:])
			b.startLocked()
		}
	}
	b.occupied = false
	b.changed.Broadcast()
	return n, err
}

// refusalLocked is why a Write must not begin.
func (b *behind) refusalLocked() error {
	switch {
	case b.c.closing.Load():
		return b.c.closedError()
	case b.err != nil:
		return b.err
	case b.closed:
		return errWriteClosed
	}
	return nil
}

// waitLocked waits until something has changed, and returns why there is no sense
// in waiting on. It sees to no deadline: who waits does so for a flusher, which has
// the same.
func (b *behind) waitLocked() error {
	b.changed.Wait()
	switch {
	case b.c.closing.Load():
		return b.c.closedError()
	case b.err != nil:
		return b.err
	case !b.flushing:
		return b.late
	}
	return nil
}

// gatherLocked appends as much of p as there is room for, and returns how much.
func (b *behind) gatherLocked(p []byte) int {
	n := min(len(p), b.limit-b.size)
	for rest := p[:n]; len(rest) > 0; {
		if len(b.blocks) == 0 || b.fill == gatherBlock {
			b.blocks = append(b.blocks, gatherPool.Get().(*gathered))
			b.fill = 0
		}
		k := copy(b.blocks[len(b.blocks)-1][b.fill:], rest)
		b.fill += k
		rest = rest[k:]
	}
	b.size += n
	b.written += int64(n)
	return n
}

// takeLocked moves what the next turn sends to turn, and returns how many bytes. A
// last block that is not full stays behind full ones, to be filled.
func (b *behind) takeLocked(turn *[turnBlocks]*gathered) int {
	if b.size == 0 {
		return 0
	}
	k, n := len(b.blocks), b.size
	if k > 1 && b.fill < gatherBlock {
		k, n = k-1, n-b.fill
	}
	if k > turnBlocks {
		k, n = turnBlocks, turnBlocks*gatherBlock
	}
	copy(turn[:], b.blocks[:k])
	left := copy(b.blocks, b.blocks[k:])
	clear(b.blocks[left:])
	b.blocks = b.blocks[:left]
	b.size -= n
	return n
}

// dropLocked ends the gathering for good.
func (b *behind) dropLocked(why error) {
	b.err = why
	for _, block := range b.blocks {
		gatherPool.Put(block)
	}
	b.blocks, b.size = nil, 0
	b.few = [turnBlocks + 1]*gathered{}
	b.changed.Broadcast()
}

// mayWriteThroughLocked reports whether p is the first Write after a pause, and
// short enough.
func (b *behind) mayWriteThroughLocked(p []byte) bool {
	return !b.flushing && b.c.engine.wire.socket != nil && len(p) > 0 && len(p) <= min(b.limit, gatherBlock) &&
		b.size == 0 && b.c.engine.Pending() == 0 &&
		(b.turned.Swap(false) || time.Since(processStart)-b.last >= quietTime)
}

// writeThroughLocked seals p, and the transport under crypto/tls sends what the socket
// has room for. The caller has taken c.writing, too, which it gives back.
func (b *behind) writeThroughLocked(p []byte) (int, error) {
	c := b.c
	b.flushing = true
	b.written += int64(len(p))
	b.mu.Unlock()
	n, err := c.engine.seal(p, 0) // what the socket does not take is pending
	c.writing.Unlock()
	b.mu.Lock()
	b.written -= int64(len(p) - n)
	if b.endTurnLocked(err) {
		b.flushing = false
		b.startLocked()
	}
	if err == nil {
		err = b.err // of an Abort
	}
	return n, err
}

// startLocked starts a flusher, if there is none and something to send. Another call,
// such as FlushTickets, may have sent meanwhile what a flusher has left.
func (b *behind) startLocked() {
	switch {
	case b.flushing:
	case b.size > 0 || b.c.engine.Pending() > 0:
		b.flushing, b.late = true, nil
		go b.run()
	default:
		b.noteSentLocked()
		b.changed.Broadcast()
	}
}

// flush is the flusher.
func (b *behind) flush() {
	c := b.c
	for {
		c.writing.Lock()
		err := b.takeTurn()
		c.writing.Unlock()
		// Not here: what a function of the Trace writes may wait for this goroutine.
		c.engine.trace.DeliverAside()
		if err != nil {
			err = c.explain(err)
		}
		b.mu.Lock()
		more := b.endTurnLocked(err)
		b.mu.Unlock()
		if !more {
			return
		}
	}
}

// takeTurn sends what is pending, and then one slice of what was gathered. The
// caller has c.writing.
func (b *behind) takeTurn() error {
	c := b.c
	if err := c.flushLocked(); err != nil {
		return err
	}
	var turn [turnBlocks]*gathered
	b.mu.Lock()
	b.noteSentLocked()
	if b.size > 0 && c.writeDeadline.passed() {
		b.mu.Unlock()
		return c.opError("write", os.ErrDeadlineExceeded)
	}
	n := b.takeLocked(&turn)
	b.changed.Broadcast()
	b.mu.Unlock()

	var err, sendErr error
	for _, block := range turn {
		if block == nil {
			break
		}
		if k := min(n, gatherBlock); err == nil {
			n -= k
			_, err = c.engine.seal(block[:k], n)
		}
		if sendErr == nil && c.engine.wire.slice() < writeSlice {
			// The kernel may have had no room for this one: as Write, seal no more
			// until it has. After a deadline the rest of the turn is sealed all the
			// same, or it would be lost.
			sendErr = c.flushLocked()
		}
		gatherPool.Put(block)
	}
	c.engine.trace.DeliverAside() // the transport may take nothing for a long time
	if sendErr == nil {
		sendErr = c.flushLocked()
	}
	if err == nil {
		err = sendErr
	}
	return err
}

// noteSentLocked is called when nothing is pending, nor taken.
func (b *behind) noteSentLocked() {
	if b.err == nil { // or something was taken, or dropped, for nothing
		b.sent = b.written - int64(b.size)
	}
}

// endTurnLocked notes what a turn has ended with, and reports whether there must be
// another.
func (b *behind) endTurnLocked(err error) bool {
	pending := b.c.engine.Pending() > 0 // an alert of Read's may have come
	switch {
	case err == nil && !pending:
		b.noteSentLocked()
		if b.size > 0 {
			b.changed.Broadcast()
			return true
		}
	case err == nil:
		return true
	case !isTimeout(err):
		if b.err == nil {
			b.dropLocked(err)
		}
	case b.renewed:
		b.renewed = false
		return true
	default:
		b.late = err
	}
	b.flushing, b.renewed = false, false
	b.last = time.Since(processStart)
	if len(b.blocks) == 0 && b.err == nil {
		b.few = [turnBlocks + 1]*gathered{}
		b.blocks = b.few[:0]
	}
	b.changed.Broadcast()
	return false
}
