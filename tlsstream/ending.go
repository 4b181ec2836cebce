package tlsstream

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// An ending records how the peer's stream ended.
type ending struct {
	known atomic.Bool // err is set, and not changed any more

	mu   sync.Mutex    // never held while anything is waited for
	err  error         // guarded by mu until known
	done chan struct{} // made when somebody asks, closed when err is set; guarded by mu
}

// end records the first end of the peer's stream.
func (c *Conn) end(err error) {
	e := &c.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known.Load() {
		return
	}
	e.err = err
	e.known.Store(true)
	if e.done != nil {
		close(e.done)
	}
}

// Done returns a channel that is closed when the peer's stream has ended, or
// Close was called. Somebody must be reading for that to be noticed: Read, or the
// goroutine of [Conn.CloseRead].
func (c *Conn) Done() <-chan struct{} {
	e := &c.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done == nil {
		e.done = make(chan struct{})
		if e.known.Load() {
			close(e.done)
		}
	}
	return e.done
}

// Err returns nil until Done is closed, and then how the peer's stream ended:
// io.EOF after close_notify, ErrTruncated, an *AlertError, net.ErrClosed after
// Close, or an error of the transport.
func (c *Conn) Err() error {
	if !c.ending.known.Load() {
		return nil
	}
	return c.ending.err
}

// refusal is why a Write must not begin: the peer has sent a fatal alert, or,
// after CloseRead, has ended its stream in any way.
func (c *Conn) refusal() error {
	err := c.Err()
	if err == nil {
		return nil
	}
	if refused := c.refusedBy(); refused != nil {
		return refused
	}
	if c.readClosed.Load() && !c.closing.Load() {
		return fmt.Errorf("tlsstream: the peer does not receive any more: its stream has ended: %w", err)
	}
	return nil
}

// refusedBy returns the fatal alert with which the peer has ended the stream, or
// nil.
func (c *Conn) refusedBy() error {
	var alert *AlertError
	if err := c.Err(); errors.As(err, &alert) && alert.Remote {
		return err
	}
	return nil
}

// explainTimeout bounds each look for an alert after a failed write. The alert
// has arrived before the RST that made the write fail, or never will. Where the
// processor is busy, the time may be over before the look: so there are several.
const (
	explainTimeout = 100 * time.Millisecond
	explainLooks   = 3
)

// sendError is what a call returns whose sending has ended with err, which may be
// nil.
func (c *Conn) sendError(err error) error {
	if err != nil && c.closing.Load() {
		return c.closedError()
	}
	return c.explain(err)
}

// explain returns the peer's alert, if it has sent one, in place of the reset
// with which its transport then answered; the reset is the error beneath.
func (c *Conn) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case !isReset(err):
		return err
	}
	if c.takeReading() {
		c.lookForEndLocked()
		c.reading.Unlock()
	}
	var alert *AlertError
	if errors.As(c.Err(), &alert) && alert.Remote {
		found := *alert
		found.Err = err
		return &found
	}
	return err
}

// takeReading takes reading, unless whoever reads finds the end of the stream, or does
// not come back.
func (c *Conn) takeReading() bool {
	if c.reading.TryLock() {
		return true
	}
	patience := time.NewTimer(interruptTimeout)
	defer patience.Stop()
	return c.reading.LockOr(c.Done(), patience.C)
}

// lookForEndLocked reads what has arrived, up to the end of the stream, and
// keeps application data for Read, as much as a Buffer takes.
func (c *Conn) lookForEndLocked() {
	defer c.readDeadline.unbound()
	buf := copyBuffers.Get().(*[writeSlice]byte)
	defer copyBuffers.Put(buf)
	for looks := explainLooks; looks > 0 && c.ahead.Free() > 0; {
		c.readDeadline.overrule(explainTimeout)
		n, err := c.readLocked(buf[:min(len(buf), c.ahead.Free())])
		c.ahead.Write(buf[:n])
		switch {
		case err == nil:
		case isTimeout(err):
			looks--
		default:
			return
		}
	}
}

// discardBytes bounds what a Close that drains reads, as membio.Drain does.
const discardBytes = 16 << 20

// discardLocked reads to the end of the stream for nobody. It reads through
// crypto/tls, so tickets are kept for resumption and an alert is noticed. What
// crypto/tls refuses to read, such as a 17th ticket in a row, is discarded, too: the
// peer may still be taking what was sent.
func (c *Conn) discardLocked() error {
	buf := copyBuffers.Get().(*[writeSlice]byte)
	defer copyBuffers.Put(buf)
	for n := 0; n < discardBytes; {
		k, err := c.readLocked(buf[:])
		switch {
		case err == nil:
		case isEOF(err), isTimeout(err), c.refusedBy() != nil:
			return err
		default: // of a transport that has failed, Drain finds the same
			return membio.Drain(c.transport)
		}
		n += k
	}
	return membio.ErrFull
}

// errDataAfterCloseRead ends a stream whose peer sends though nobody reads.
var errDataAfterCloseRead = errors.New("tlsstream: the peer sent application data after CloseRead")

// CloseRead says that this side will never read application data: it only
// writes, as a log sender or an upload does. From then on a goroutine of the Conn
// reads, until the peer's stream ends or Close is called: tickets are kept for
// resumption, KeyUpdates answered at the next write, and close_notify, alerts and
// truncation show at once through Done, Err and the next Write. Application data
// is dropped if Options.DropAfterCloseRead is set; else it is an error that ends
// the reading, and the next Write, or Close, returns it.
//
// It runs the handshake first if need be. Read returns io.EOF afterwards. The read
// deadline does not end that goroutine, and still bounds Close. A second call does
// nothing.
func (c *Conn) CloseRead() error {
	if err := c.Handshake(); err != nil {
		return err
	}
	if c.closing.Load() {
		return c.closedError()
	}
	if c.readClosed.CompareAndSwap(false, true) {
		c.readDeadline.bound(0) // brings a Read back; it returns io.EOF
		go c.readForNobody()
	}
	return nil
}

func (c *Conn) readForNobody() {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.readDeadline.overrule(0) // the user's is for Read, and for Close
	buf := make([]byte, 512)   // data is not expected
	for !c.closing.Load() {
		n, err := c.readLocked(buf)
		c.engine.trace.DeliverAside()
		switch {
		case err != nil && c.closing.Load():
			return
		case err != nil:
			c.end(err) // a timeout, too: the transport has given up by itself
			return
		case n > 0 && !c.engine.options.DropAfterCloseRead:
			c.end(errDataAfterCloseRead)
			return
		}
	}
}
