package tlsstream

import (
	"io"
	"sync/atomic"

	"github.com/deferredtls/deferredtls/membio"
)

// A dueQueue holds the ciphertext that is due. It keeps everything and never blocks;
// what fills it bounds it.
//
// Its lock is the gate's, so that records are queued in the order of the gate's
// decisions. It is taken after crypto/tls's own write lock, and never held across
// I/O: an alert of Read's must find room.
type dueQueue struct {
	// sending is what is ahead of buffer: what send or take has begun with. It
	// belongs to the one caller of those.
	sending membio.Buffer
	broken  error // of a write that was not send's; for the next send to return

	size atomic.Int64 // bytes in sending and buffer

	// Guarded by the gate's lock.
	buffer membio.Buffer
	total  int64 // bytes ever queued
}

// queueLocked copies bufs to the end of the queue.
func (q *dueQueue) queueLocked(bufs ...[]byte) {
	n := 0
	for _, b := range bufs {
		q.buffer.Write(b) // cannot fail: there is no limit
		n += len(b)
	}
	q.total += int64(n)
	q.size.Add(int64(n))
}

func (q *dueQueue) pending() int { return int(q.size.Load()) }

// putBack queues the rest of a record that the transport has not taken. Its caller
// is the one that sends, and nothing was queued when it began.
func (q *dueQueue) putBack(rest []byte, err error) {
	q.broken = err
	q.sending.Write(rest) // cannot fail, as above
	q.size.Add(int64(len(rest)))
}

// beginLocked moves what is due to sending.
func (q *dueQueue) beginLocked() { q.sending.Append(&q.buffer) }

func (t *transport) everQueued() bool {
	t.gate.Lock()
	defer t.gate.Unlock()
	return t.due.total > 0
}

// take moves what is due to p.
func (t *transport) take(p []byte) int {
	t.gate.Lock()
	t.due.beginLocked()
	t.gate.Unlock()
	n, _ := t.due.sending.Read(p) // io.EOF means empty
	t.due.size.Add(-int64(n))
	return n
}

// send makes one write to w of all that is due, and drops what w took. One
// goroutine may call it at a time.
func (t *transport) send(w io.Writer) (int64, error) {
	if err := t.due.broken; err != nil {
		t.due.broken = nil
		return 0, err
	}
	t.gate.Lock()
	t.due.beginLocked()
	t.gate.Unlock()
	n, err := t.due.sending.WriteTo(w)
	t.due.size.Add(-n)
	return n, err
}
