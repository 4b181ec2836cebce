package tlsstream

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Flush waits until the transport has taken everything that was written before,
// and what else is pending. That matters with Options.WriteBehind; without it Write
// waits by itself, and Flush is Write of nothing. It does not send what is held:
// see FlushTickets.
//
// nil does not say that the peer has received it: only an answer of the peer's does.
//
// The write deadline bounds it. A timeout is not final: nothing is lost, and with a
// later deadline it may be called again. Other errors are final.
func (c *Conn) Flush() error {
	if c.behind == nil {
		_, err := c.Write(nil)
		return err
	}
	if err := c.Handshake(); err != nil {
		return err
	}
	if err := c.refusal(); err != nil && !c.closing.Load() {
		return err
	}
	if err := c.behind.wait(); err != nil || c.engine.Pending() == 0 {
		return err
	}
	if err := c.begin(&c.writing); err != nil {
		return err
	}
	defer c.finish(&c.writing)
	return c.sendError(c.flushLocked()) // what a FlushTickets has left
}

// wait waits until everything that was written so far has been sent.
func (b *behind) wait() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c.closing.Load() {
		return b.c.closedError()
	}
	return b.waitSentLocked()
}

func (b *behind) waitSentLocked() error {
	switch upTo := b.written; {
	case b.err != nil:
		return b.err
	case b.sent >= upTo:
		return nil
	case b.c.writeDeadline.passed():
		return b.c.opError("write", os.ErrDeadlineExceeded)
	default:
		b.startLocked()
		for b.sent < upTo {
			if err := b.waitLocked(); err != nil {
				return err
			}
		}
		return nil
	}
}

// closeWrite waits until everything has been sent, and lets no Write begin.
func (b *behind) closeWrite() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.occupied {
		if err := b.waitLocked(); err != nil {
			return err
		}
	}
	b.closed = true
	return b.waitSentLocked()
}

var (
	errWriteBroken = errors.New("a Write was in progress")
	errNotTaken    = errors.New("the transport did not return")
)

// close is closeWrite for Close, which has set closing. It takes within at most, of
// which it returns what is left. It fails if anything is lost, and then close_notify
// must not be sent: it would say that this was all (RFC 8446 6.1).
func (b *behind) close(within time.Duration) (time.Duration, error) {
	if b == nil {
		return within, nil
	}
	began := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed.Broadcast() // Writes in progress give up
	if b.occupied {
		return 0, b.lostLocked(errWriteBroken)
	}
	if b.sent == b.written && !b.flushing {
		return within, nil
	}
	b.mu.Unlock()
	b.c.writeDeadline.bound(within)
	b.mu.Lock()

	// A transport may have no deadlines, and an alert of Read's may have taken this
	// one away.
	late := false
	patience := time.AfterFunc(within+interruptTimeout, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		late = true
		b.changed.Broadcast()
	})
	defer patience.Stop()
	if b.err == nil && !b.c.writeDeadline.passed() {
		b.startLocked()
	}
	for b.flushing && !late { // to its end: what it holds, Close needs
		b.changed.Wait()
	}
	switch {
	case b.sent == b.written:
		return within - time.Since(began), nil
	case b.err != nil:
		return 0, b.lostLocked(b.err)
	case late:
		return 0, b.lostLocked(errNotTaken)
	case b.late != nil:
		return 0, b.lostLocked(b.late)
	}
	return 0, b.lostLocked(os.ErrDeadlineExceeded)
}

func (b *behind) lostLocked(why error) error {
	return fmt.Errorf("tlsstream: up to %d bytes that were written were not sent, nor was close_notify (but the connection was closed): %w", b.written-b.sent, why)
}

// wake brings Writes and Flushes in progress back, when closing has been set.
func (b *behind) wake() {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed.Broadcast()
	}
}

// sendRest sends everything for Abort, in whose way no flusher is: the caller has
// c.writing.
func (b *behind) sendRest() error {
	for b.stats() > 0 {
		if err := b.takeTurn(); err != nil {
			return err
		}
	}
	return nil
}

// drop ends the gathering: nothing more is sealed, and what is left is lost. It is
// called by Close, when it has closed the transport, and by Abort.
func (b *behind) drop() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.dropLocked(b.c.closedError())
	}
	b.changed.Broadcast()
}

// resume is called when the user has set a write deadline.
func (b *behind) resume() {
	if b == nil || b.c.writeDeadline.passed() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.flushing:
		b.renewed = true
	case b.late != nil && b.err == nil && !b.c.closing.Load():
		b.startLocked()
	}
}

// turnToSpeak notes that Read has returned data.
func (b *behind) turnToSpeak() {
	if b != nil && !b.turned.Load() {
		b.turned.Store(true)
	}
}

// stats returns how many bytes wait to be sealed.
func (b *behind) stats() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size
}
