package tlsstream

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// Close closes the connection. If the handshake is complete and no Write is in
// progress, what is pending and held goes out first, and close_notify with it;
// Close waits for the transport to take that, at most Options.CloseTimeout and
// not past the write deadline. If a Write is in progress, Close breaks it
// and sends nothing, as crypto/tls does. The transport is closed in every case.
// A second call returns net.ErrClosed.
//
// A client of TLS 1.3 whose Read has returned nothing so far, neither data nor an
// end, or that has called CloseRead, then waits until the server closes, at most
// Options.DrainTimeout and not past the read deadline: the server's tickets may lie
// unread or be on their way, and closing on top of them would destroy what the
// server has not received. No other Close waits for the peer. A read deadline that
// has passed, or a negative DrainTimeout, makes it return at once. If the server
// sends a fatal alert meanwhile, because it refused this side's certificate for
// example, Close returns that as an *AlertError; so it does after CloseRead, if one
// has come before. A nil error does not say that the peer has received everything.
//
// All in all Close takes CloseTimeout, DrainTimeout and half a second at most, the
// latter only if a Read in progress does not return at its deadline. Calls in
// progress return an error that matches net.ErrClosed. A server whose handshake has
// failed gives the client DrainTimeout to see its alert, but in the background.
func (c *Conn) Close() error {
	if !c.closing.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	defer c.deliver()
	alertErr := c.sayGoodbye()
	var err error
	if within := c.engine.options.drainTimeout(); c.refused.Load() && within > 0 {
		c.readDeadline.bound(within) // whatever the user sets from now on
		err = c.engine.trace.CloseDrained(c.transport, within)
	} else {
		err = c.transport.Close()
	}
	c.behind.drop()
	c.engine.stop()
	c.end(net.ErrClosed)
	if err == nil {
		err = alertErr
	}
	return err
}

// sayGoodbye sends close_notify, and drains.
func (c *Conn) sayGoodbye() error {
	if !c.ready.Load() {
		return nil
	}
	within, err := c.behind.close(c.engine.options.closeTimeout())
	if err != nil {
		return err
	}
	if !c.writing.TryLock() {
		return nil // a Write is in progress; closing the transport ends it
	}
	defer c.writing.Unlock()
	if err = c.engine.CloseWrite(); err == nil {
		c.writeDeadline.bound(within)
		err = c.flushLocked()
	}
	if err != nil {
		return fmt.Errorf("tlsstream: close_notify was not sent (but the connection was closed): %w", c.explain(err))
	}
	if c.mustDrain() {
		c.awaitServer()
	} else if !c.readClosed.Load() {
		return nil // whoever reads is told by Read
	}
	if err := c.Err(); err == errDataAfterCloseRead {
		return err
	}
	return c.refusedBy()
}

// mustDrain reports whether the server may have sent, or may still send, what
// nobody was going to read.
func (c *Conn) mustDrain() bool {
	if !c.engine.client || c.engine.options.drainTimeout() == 0 || c.ConnectionState().Version != tls.VersionTLS13 {
		return false
	}
	err := c.Err()
	return !c.heard.Load() || c.readClosed.Load() && (err == nil || err == errDataAfterCloseRead)
}

// awaitServer drains in Close. The caller has writing.
func (c *Conn) awaitServer() {
	c.readDeadline.bound(0) // brings a Read back
	patience := time.NewTimer(interruptTimeout)
	defer patience.Stop()
	if c.reading.TryLock() || c.reading.LockOr(nil, patience.C) {
		defer c.reading.Unlock()
		// A reset is no error here: a server that has taken all, and does not
		// wait for close_notify, resets the connection too.
		_ = c.drainLocked(ticketdefer.DrainClose, c.discardLocked)
	}
}
