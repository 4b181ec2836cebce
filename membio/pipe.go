package membio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// How a pipe works.
//
// Each of the two directions is a flow: a send queue at the writer (its
// kernel's send buffer), a receive queue at the reader, and the rest of a
// Write that is blocked. Bytes go forward as soon as there is room, moved by
// whichever call made the room: there are no goroutines, so a pipe that
// nobody uses any more is garbage, and what an operation causes has happened
// when it returns.
//
// FIN is a place in the flow: it has arrived when the bytes before it have.
// RST is at once, past everything that is queued. The reset rules are those
// of Linux (tcp_close, tcp_reset and tcp_rcv_state_process in net/ipv4), and
// pipe_rules_test.go holds both this and the kernel it runs on to them.
//
// One thing is not as in Linux: there, a reset is reported to one call, and
// if that was a Write, a Read sees a plain end of stream. Here every Read
// after a reset says ECONNRESET, so that what a test sees does not depend on
// which of two goroutines was first.

// PipeOptions describe the two ends of a [Pipe]. The zero value is a lockstep
// pipe: a Write returns when the reader has taken its bytes, as with net.Pipe.
type PipeOptions struct {
	// A is the side that Pipe returns first, B the other.
	A, B PipeSide

	// Seed chooses the sizes of segments. The stream in each direction is cut
	// at places that depend on Seed and MaxSegment only, not on who was first.
	Seed uint64

	// If RSTDiscardsReceived is set, an RST also discards what its receiver
	// has not read yet. RFC 1122, 4.2.2.13 lets a TCP do so. If not set, the
	// receive queue survives, as on Linux.
	RSTDiscardsReceived bool
}

// PipeSide describes one end of a [Pipe]. Negative values make Pipe panic.
type PipeSide struct {
	// SendBuffer is how many bytes this side's Write may leave behind that
	// have not reached the peer. If zero, and the peer's ReceiveBuffer is
	// zero too, this direction is in lockstep.
	SendBuffer int

	// ReceiveBuffer is how many bytes are held for this side's Read. If
	// zero, Read takes directly from what the peer is sending.
	ReceiveBuffer int

	// MaxSegment, if positive, cuts what this side receives into segments of
	// 1 to MaxSegment bytes. A Read returns bytes of one segment only, and a
	// segment reaches the receive queue when it fits as a whole, or when the
	// queue is empty. If zero, there are no segments.
	MaxSegment int
}

// pipe is what the two ends share.
type pipe struct {
	rstDiscards bool

	// mu is the innermost lock. It is never held while anything is waited for.
	mu sync.Mutex

	reset bool // an RST was sent, by either end; guarded by mu
}

// PipeConn is one end of a [Pipe]: a net.Conn with half-close, resets and
// deadlines as a *net.TCPConn has them. Errors are *net.OpError and wrap what
// TCP's do: net.ErrClosed after this end's own Close, os.ErrDeadlineExceeded,
// syscall.ECONNRESET, EPIPE and ENOTCONN. All methods may be called by several
// goroutines at once; Reads are serialised, and so are Writes.
type PipeConn struct {
	// Lock order: readTurn or writeTurn, never both, and then pipe.mu. A turn
	// is a channel of capacity one, full while taken: testing/synctest sees a
	// goroutine that waits for it, and it may be held while one waits.
	readTurn  chan struct{}
	writeTurn chan struct{}

	pipe          *pipe
	peer          *PipeConn
	local, remote pipeAddr
	in, out       *flow

	// Guarded by pipe.mu.
	readDeadline  time.Time
	writeDeadline time.Time
	isClosed      bool
	readShut      bool
	lingerZero    bool
	resetErr      syscall.Errno // what the next Write reports, once pipe.reset
}

// Pipe returns the two ends of a connection in memory. It panics if o has a
// negative size.
func Pipe(o PipeOptions) (a, b *PipeConn) {
	for _, n := range []int{
		o.A.SendBuffer, o.A.ReceiveBuffer, o.A.MaxSegment,
		o.B.SendBuffer, o.B.ReceiveBuffer, o.B.MaxSegment,
	} {
		if n < 0 {
			panic("membio: negative size in PipeOptions")
		}
	}
	ab := newFlow(o.A.SendBuffer, o.B, o.Seed, 0)
	ba := newFlow(o.B.SendBuffer, o.A, o.Seed, 1)
	p := &pipe{rstDiscards: o.RSTDiscardsReceived}
	newEnd := func(local, remote pipeAddr, in, out *flow) *PipeConn {
		return &PipeConn{
			readTurn:  make(chan struct{}, 1),
			writeTurn: make(chan struct{}, 1),
			pipe:      p,
			local:     local,
			remote:    remote,
			in:        in,
			out:       out,
		}
	}
	a = newEnd("a", "b", ba, ab)
	b = newEnd("b", "a", ab, ba)
	a.peer, b.peer = b, a
	return a, b
}

// Read returns bytes as soon as there are any. After the peer's FIN and all
// bytes before it, or after CloseRead when nothing is there, it returns
// [io.EOF]; after an RST, what the receive queue still holds and then
// ECONNRESET, or io.EOF if the FIN had arrived before the RST. A Read of no
// bytes returns at once.
func (c *PipeConn) Read(b []byte) (int, error) {
	c.readTurn <- struct{}{}
	defer func() { <-c.readTurn }()
	c.pipe.mu.Lock()
	defer c.pipe.mu.Unlock()

	for {
		switch {
		case c.isClosed:
			return 0, c.opError("read", net.ErrClosed)
		case len(b) == 0:
			return 0, nil
		case expired(c.readDeadline):
			return 0, c.opError("read", os.ErrDeadlineExceeded)
		}
		if n := c.in.take(b); n > 0 {
			c.peer.pushLocked()
			return n, nil
		}
		switch {
		case c.in.broken:
			c.resetErr = syscall.EPIPE
			return 0, c.opError("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case c.in.finArrived() || c.readShut:
			return 0, io.EOF
		}
		c.waitLocked(c.in.readable, c.readDeadline)
	}
}

// Write returns when all of b is in the send queue, in the peer's receive
// queue or with the peer's reader; until then it blocks. The count is right
// with every error: these bytes of b are on their way, unless the error is a
// reset. After a reset the first call says ECONNRESET, if no Read did, and
// later ones EPIPE; as in Linux all say EPIPE if the peer's FIN came before.
func (c *PipeConn) Write(b []byte) (int, error) {
	c.writeTurn <- struct{}{}
	defer func() { <-c.writeTurn }()
	c.pipe.mu.Lock()
	defer c.pipe.mu.Unlock()

	if err := c.writeErrorLocked(); err != nil {
		return 0, c.opError("write", err)
	}
	// The reader takes bytes straight out of b, so the offer must not
	// outlive this call.
	c.out.offer = b
	defer func() { c.out.offer = nil }()
	c.pushLocked()
	for len(c.out.offer) > 0 {
		if err := c.writeErrorLocked(); err != nil {
			return len(b) - len(c.out.offer), c.opError("write", err)
		}
		c.waitLocked(c.out.writable, c.writeDeadline)
	}
	return len(b), nil
}

// writeErrorLocked says why nothing more can be written. An error that is
// reported once counts as reported.
func (c *PipeConn) writeErrorLocked() error {
	switch {
	case c.isClosed:
		return net.ErrClosed
	case expired(c.writeDeadline):
		return os.ErrDeadlineExceeded
	case c.pipe.reset:
		err := os.NewSyscallError("write", c.resetErr)
		c.resetErr = syscall.EPIPE
		return err
	case c.out.fin:
		return os.NewSyscallError("write", syscall.EPIPE)
	}
	return nil
}

// pushLocked moves what c has written as far as there is room.
func (c *PipeConn) pushLocked() {
	// RFC 1122, 4.2.2.13: bytes for a side that neither reads nor writes any
	// more are answered with RST. Linux does so for shutdown(2) of both
	// halves as for close(2).
	if c.peer.readShut && c.peer.out.fin && c.out.arriving() {
		c.out.acceptLost()
		c.peer.sendResetLocked()
		return
	}
	c.out.move()
}

// waitLocked waits for a signal or the deadline, without the lock.
func (c *PipeConn) waitLocked(signal <-chan struct{}, deadline time.Time) {
	c.pipe.mu.Unlock()
	defer c.pipe.mu.Lock()
	if deadline.IsZero() {
		<-signal
		return
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-signal:
	case <-t.C:
	}
}

func expired(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

// wakeLocked makes all four possible waiters look again.
func (c *PipeConn) wakeLocked() {
	for _, f := range []*flow{c.in, c.out} {
		wake(f.readable)
		wake(f.writable)
	}
}

func (c *PipeConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// LocalAddr returns an address that names this end.
func (c *PipeConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's LocalAddr.
func (c *PipeConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets the deadlines of Read and Write, those in progress
// included. The zero time means none.
func (c *PipeConn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

// SetReadDeadline sets the deadline of Read.
func (c *PipeConn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

// SetWriteDeadline sets the deadline of Write.
func (c *PipeConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *PipeConn) setDeadlines(t time.Time, read, write bool) error {
	c.pipe.mu.Lock()
	defer c.pipe.mu.Unlock()
	if c.isClosed {
		return c.opError("set", net.ErrClosed)
	}
	if read {
		c.readDeadline = t
		wake(c.in.readable)
	}
	if write {
		c.writeDeadline = t
		wake(c.out.writable)
	}
	return nil
}

// SetLinger with 0 makes Close send an RST and discard what is unsent; a
// negative sec restores the default, by which Close returns at once and the
// unsent bytes flow on. A Close that waits is not modelled: a positive sec is
// an error that wraps errors.ErrUnsupported.
func (c *PipeConn) SetLinger(sec int) error {
	c.pipe.mu.Lock()
	defer c.pipe.mu.Unlock()
	if c.isClosed {
		return c.opError("set", net.ErrClosed)
	}
	if sec > 0 {
		return c.opError("set", fmt.Errorf("linger of %d s: %w", sec, errors.ErrUnsupported))
	}
	c.lingerZero = sec == 0
	return nil
}

// Unsent returns how many bytes are in this end's send queue, also after its
// Close. The rest of a blocked Write is not in the queue.
func (c *PipeConn) Unsent() int {
	c.pipe.mu.Lock()
	defer c.pipe.mu.Unlock()
	return c.out.send.Len()
}

// Unread returns how many bytes are in this end's receive queue.
func (c *PipeConn) Unread() int {
	c.pipe.mu.Lock()
	defer c.pipe.mu.Unlock()
	return c.in.recv.Len()
}

// pipeAddr names an end: "a" or "b".
type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }
