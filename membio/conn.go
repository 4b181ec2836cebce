package membio

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a net.Conn over another one, its transport, with bytes read ahead
// of the reader on one side and bytes pending for the transport on the other.
// With neither, Read and Write pass through and the Conn holds no buffer.
//
// The transport is written to by Write and Flush only, and read by Read and
// ReadAhead only. All methods may be called by several goroutines at once.
// Reads are serialised among themselves, and so are Writes; a Read never waits
// for a Write.
type Conn struct {
	transport net.Conn

	// Lock order: readTurn or writeTurn, never both, and then mu. The turns
	// are held across transport I/O; mu never is.
	readTurn  Turn
	writeTurn Turn

	// idle is set while nothing is read ahead, nothing pending, and the Conn not
	// closed: Read and Write then have nothing to look for under mu. It changes
	// under mu.
	idle atomic.Bool

	mu sync.Mutex

	// Guarded by mu.
	ahead    Buffer // read ahead of the reader
	pending  Buffer // accepted, not yet taken by the transport
	lent     bool   // a transport write in progress reads pending's chunks
	isClosed bool
	closed   chan struct{} // made when a call waits for its turn; closed by Close
}

// NewConn returns a Conn over transport. The caller stops using the transport
// for I/O.
func NewConn(transport net.Conn) *Conn {
	c := &Conn{transport: transport}
	c.idle.Store(true)
	// Queue cannot fail, and what ReadAhead has taken from the transport must
	// be kept; the limits are kept where bytes are asked for.
	c.pending.Limit, c.ahead.Limit = -1, -1
	return c
}

// take waits for a turn. It fails with net.ErrClosed once the Conn is closed,
// so no waiter outlives Close.
func (c *Conn) take(turn *Turn, op string) error {
	if c.idle.Load() && turn.TryLock() {
		return nil
	}
	c.mu.Lock()
	isClosed, free := c.isClosed, false
	if !isClosed {
		if free = turn.TryLock(); !free && c.closed == nil {
			c.closed = make(chan struct{})
		}
	}
	c.mu.Unlock()
	if free || !isClosed && turn.LockOr(c.closed, nil) {
		return nil
	}
	return c.closedError(op)
}

// settleLocked sets idle to what is the case.
func (c *Conn) settleLocked() {
	c.idle.Store(!c.isClosed && c.ahead.Len() == 0 && c.pending.Len() == 0)
}

func (c *Conn) closedError(op string) error {
	e := &net.OpError{Op: op, Net: "membio", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: net.ErrClosed}
	if e.Source != nil {
		e.Net = e.Source.Network()
	}
	return e
}

// Read returns bytes read ahead, if there are any; else it reads from the
// transport directly into p, and returns what that returns. It never returns
// both kinds in one call, so it never blocks while it has bytes.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.take(&c.readTurn, "read"); err != nil {
		return 0, err
	}
	defer c.readTurn.Unlock()

	if c.idle.Load() {
		return c.transport.Read(p)
	}
	c.mu.Lock()
	if c.ahead.Len() > 0 {
		n, err := c.ahead.Read(p)
		c.settleLocked()
		c.mu.Unlock()
		return n, err
	}
	c.mu.Unlock()
	return c.transport.Read(p)
}

// ReadAhead makes at most one Read of the transport, of at most n bytes, and
// keeps what it brings for Read. It returns how many bytes were added, and
// the transport's error. At most [DefaultLimit] bytes are kept; at the limit
// ReadAhead returns [ErrFull] without a Read, and near it, as near the size
// of a chunk (a few bytes less than 16 KiB), it reads less than n. If n is
// not positive it returns 0, nil.
//
// While it waits for the transport it holds one chunk.
func (c *Conn) ReadAhead(n int) (int, error) {
	if err := c.take(&c.readTurn, "read"); err != nil {
		return 0, err
	}
	defer c.readTurn.Unlock()

	if n <= 0 {
		return 0, nil
	}
	c.mu.Lock()
	n = min(n, c.aheadRoomLocked(), chunkBytes)
	c.mu.Unlock()
	if n == 0 {
		return 0, ErrFull
	}

	// Not into the buffer's own tail: Read must be able to count on mu being
	// free, and a chunk for each small read would multiply what a limit in
	// bytes costs in memory.
	ck := newChunk()
	defer ck.free()
	// The capacity is cut so that a transport which claims to have read more
	// than it was asked for panics here, and cannot make old bytes of the
	// chunk pass for its own.
	p := ck.data[:n:n]
	n, err := c.transport.Read(p)

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return 0, c.closedError("read")
	}
	c.ahead.Write(p[:n])
	c.settleLocked()
	return n, err
}

func (c *Conn) aheadRoomLocked() int { return max(0, DefaultLimit-c.ahead.Len()) }

// Unread appends p to the bytes read ahead: bytes that were read from the
// transport elsewhere, such as by a bufio.Reader, before this Conn was put in.
// It keeps all of p or, with [ErrFull], none of it, if more than
// [DefaultLimit] bytes would be kept. It waits for no I/O. Call it before the
// first Read or ReadAhead, or the order of the stream is lost.
func (c *Conn) Unread(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return c.closedError("read")
	}
	if c.aheadRoomLocked() < len(p) {
		return ErrFull
	}
	c.ahead.Write(p)
	c.settleLocked()
	return nil
}

// Buffered returns how many bytes are read ahead.
func (c *Conn) Buffered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead.Len()
}

// Queue appends a copy of bufs to the pending output, all of them or, on a
// closed Conn, none. It does not touch the transport and waits for no I/O. The
// bytes go out with the next Write or Flush; if one is in the transport now,
// after its bytes. There is no limit: the caller keeps [Conn.Pending] bounded.
//
// After a Write that took only a part of its bytes, bytes queued come before
// the rest that the caller writes next. A caller with a framing of its own
// must not queue between the two.
func (c *Conn) Queue(bufs ...[]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return
	}
	for _, b := range bufs {
		c.pending.Write(b) // cannot fail: there is no limit
	}
	c.settleLocked()
}

// Pending returns how many bytes are pending for the transport, those of a
// write in progress included.
func (c *Conn) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending.Len()
}

// Write writes what is pending and then p, in one write of the transport.
// With nothing pending, p goes to the transport as it is.
//
// The count is of bytes of p. If the transport times out or fails midway, what
// it did not take of the pending bytes stays pending, in order, and what it
// did not take of p remains the caller's to write again or to give up.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.take(&c.writeTurn, "write"); err != nil {
		return 0, err
	}
	defer c.writeTurn.Unlock()

	if c.idle.Load() {
		return c.transport.Write(p)
	}
	v, held, err := c.lend()
	if err != nil {
		return 0, err
	}
	if held == 0 {
		return c.transport.Write(p)
	}
	defer v.free()
	if len(p) > 0 {
		v.bufs = append(v.bufs, p)
	}
	return c.writeLent(v, held)
}

// Flush writes what is pending. With nothing pending it returns nil and does
// not call the transport. After an error, what was not written stays pending.
func (c *Conn) Flush() error {
	if err := c.take(&c.writeTurn, "write"); err != nil {
		return err
	}
	defer c.writeTurn.Unlock()

	v, held, err := c.lend()
	if held == 0 {
		return err
	}
	defer v.free()
	_, err = c.writeLent(v, held)
	return err
}

// lend lists the pending bytes and returns how many they are; v is nil if there
// are none. If there are, Close leaves their chunks alone until writeLent is
// done with them. The caller has writeTurn.
func (c *Conn) lend() (v *vector, held int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		// Close has dropped what was pending; p must not go without it while
		// the transport is still open.
		return nil, 0, c.closedError("write")
	}
	held = c.pending.Len()
	if held > 0 {
		v = newVector()
		v.bufs = c.pending.Peek(v.bufs)
		c.lent = true
	}
	return v, held, nil
}

// writeLent writes v, whose first held bytes are lent from pending, consumes
// those that the transport took, and returns how many of the others it took.
// The caller has writeTurn.
func (c *Conn) writeLent(v *vector, held int) (int, error) {
	n64, err := v.writeTo(c.transport)
	n := int(n64)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent = false
	if c.isClosed {
		c.pending.Reset()
	} else {
		c.pending.Discard(min(n, held))
		c.settleLocked()
	}
	return max(0, n-held), err
}

// Close closes the transport and returns its error. Pending bytes and bytes
// read ahead are dropped: Flush first to send what is pending. Calls in
// progress return, those in the transport when it lets go of them; later ones
// fail with net.ErrClosed.
func (c *Conn) Close() error {
	c.mu.Lock()
	if !c.isClosed {
		c.isClosed = true
		if c.closed != nil {
			close(c.closed)
		}
		c.ahead.Reset()
		// Chunks that a transport write still reads must not reach another
		// connection through the pool; that write resets pending instead.
		if !c.lent {
			c.pending.Reset()
		}
		c.settleLocked()
	}
	c.mu.Unlock()
	return c.transport.Close()
}

// CloseWrite shuts down the writing side of the transport. It does not flush.
// If the transport has no CloseWrite method, the error wraps
// errors.ErrUnsupported.
func (c *Conn) CloseWrite() error {
	t, ok := c.transport.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("membio: CloseWrite of a %T: %w", c.transport, errors.ErrUnsupported)
	}
	return t.CloseWrite()
}

// CloseRead shuts down the reading side of the transport. Bytes read ahead
// stay readable. If the transport has no CloseRead method, the error wraps
// errors.ErrUnsupported.
func (c *Conn) CloseRead() error {
	t, ok := c.transport.(interface{ CloseRead() error })
	if !ok {
		return fmt.Errorf("membio: CloseRead of a %T: %w", c.transport, errors.ErrUnsupported)
	}
	return t.CloseRead()
}

// NetConn returns the transport.
func (c *Conn) NetConn() net.Conn { return c.transport }

// LocalAddr returns the transport's local address.
func (c *Conn) LocalAddr() net.Addr { return c.transport.LocalAddr() }

// RemoteAddr returns the transport's remote address.
func (c *Conn) RemoteAddr() net.Addr { return c.transport.RemoteAddr() }

// SetDeadline sets both deadlines of the transport. A call that waits for its
// turn behind another meets the deadline when that other one does.
func (c *Conn) SetDeadline(t time.Time) error { return c.transport.SetDeadline(t) }

// SetReadDeadline sets the transport's deadline for Read and ReadAhead. Bytes
// read ahead are returned even past it.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.transport.SetReadDeadline(t) }

// SetWriteDeadline sets the transport's deadline for Write and Flush.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.transport.SetWriteDeadline(t) }
