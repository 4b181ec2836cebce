package membio

import (
	"net"
	"os"
	"syscall"
)

// Close ends this end's use of the connection. Exactly one of the following
// happens.
//
//   - The connection was already over, by an RST or by both ends' FIN: nothing.
//   - Bytes have arrived that were not read, or linger is 0: an RST goes out,
//     and this end's unsent bytes are lost.
//   - Otherwise a FIN goes out after the unsent bytes, which flow on as the
//     peer reads. If the peer then writes, it gets an RST.
//
// Calls in progress and later ones return net.ErrClosed, a second Close too.
func (c *PipeConn) Close() error {
	c.pipe.mu.Lock()
	defer c.pipe.mu.Unlock()
	if c.isClosed {
		return c.opError("close", net.ErrClosed)
	}
	c.isClosed = true
	c.readShut = true
	switch {
	case c.overLocked():
	case c.lingerZero || c.in.arriving() || c.in.recv.Len() > 0:
		c.sendResetLocked()
	default:
		c.out.fin = true
	}
	c.in.recv.Reset()
	c.wakeLocked()
	return nil
}

// CloseWrite sends FIN after the unsent bytes. Reading goes on; writing fails
// with EPIPE, a Write in progress too. If the connection is over, the error
// wraps ENOTCONN.
func (c *PipeConn) CloseWrite() error {
	return c.shut(func() { c.out.fin = true })
}

// CloseRead makes Read return [io.EOF] when nothing is there instead of
// waiting. As on Linux the peer does not notice: its bytes are received, may be
// read, and if they are not, Close sends RST. After CloseWrite as well, bytes
// that arrive are answered with RST. If the connection is over, the error wraps
// ENOTCONN.
func (c *PipeConn) CloseRead() error {
	return c.shut(func() { c.readShut = true })
}

func (c *PipeConn) shut(half func()) error {
	c.pipe.mu.Lock()
	defer c.pipe.mu.Unlock()
	switch {
	case c.isClosed:
		return c.opError("close", net.ErrClosed)
	case c.overLocked():
		return c.opError("close", os.NewSyscallError("shutdown", syscall.ENOTCONN))
	}
	half()
	// With both halves shut, the peer's bytes that wait for room are in vain.
	c.peer.pushLocked()
	c.wakeLocked()
	return nil
}

// overLocked reports whether neither end can send anything to the other any
// more, not even an RST.
func (c *PipeConn) overLocked() bool {
	return c.pipe.reset || c.in.finArrived() && c.out.finArrived()
}

// sendResetLocked sends an RST to c's peer, and ends the connection for both.
func (c *PipeConn) sendResetLocked() {
	c.resetErr, c.peer.resetErr = c.resetErrLocked(), c.peer.resetErrLocked()
	for _, f := range []*flow{c.in, c.out} {
		// FIN is judged before the queue in front of it is gone.
		f.broken = !f.finArrived()
		f.fin = true // no blocked Write gives any more bytes
		f.send.Reset()
	}
	if c.pipe.rstDiscards && c.out.recv.Len() > 0 {
		c.out.recv.Reset()
		c.out.broken = true
	}
	c.pipe.reset = true
	c.wakeLocked()
}

// resetErrLocked is the error with which c learns of a reset (tcp_reset in
// net/ipv4/tcp_input.c): in CLOSE_WAIT, after the peer's FIN and before its
// own, it is EPIPE.
func (c *PipeConn) resetErrLocked() syscall.Errno {
	if c.in.finArrived() && !c.out.fin {
		return syscall.EPIPE
	}
	return syscall.ECONNRESET
}
