package tlsstream

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
)

// errBusy is why an Abort could send nothing: some call did not return, though
// its deadline had passed.
var errBusy = errors.New("tlsstream: connection closed without an alert: a call in the transport or in a callback did not return")

// Abort ends the connection with a fatal alert, so that every client reports the
// transfer as failed, whatever its framing (RFC 8446 6.2). What was written and
// held goes out before it. Calls in progress return, and later ones fail with an
// *AlertError that wraps net.ErrClosed.
//
// Abort waits for the transport to take what is pending, at most
// Options.CloseTimeout and not past the write deadline (set another if it has
// passed); then for the peer to finish, at most Options.DrainTimeout and not past
// the read deadline, because closing while the peer's data arrives would send a RST
// that can overtake the alert. Then it closes the transport, in every case. The
// error is the first reason why the alert may not have reached the peer. After
// Close or another Abort it is net.ErrClosed. AlertCloseNotify and
// AlertUserCanceled are not fatal: for them Abort sends none, and closes.
//
// The peer sees another alert on TLS 1.2 and older, and on a connection whose
// traffic secrets this layer does not have: bad_record_mac, or, in the handshake,
// unexpected_message. There crypto/tls is made to send an alert of its own.
func (c *Conn) Abort(a Alert) error { return c.AbortWithReason(a, "") }

// AbortWithReason is Abort with a reason in words, at most 1 KiB of UTF-8 (the rest
// is cut off), which the AlertError on the peer's side shows if the peer uses this
// package with Options.Reasons. It is sent if this side is a server, has
// Options.Reasons set, and the client accepts session tickets; all other peers
// get the plain alert. Put no secrets into it: it is encrypted, but a client that
// takes it for a ticket may offer it to the server, in the clear, within a second.
func (c *Conn) AbortWithReason(a Alert, text string) error {
	if !c.closing.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	defer c.deliver()
	c.aborted.Store(&AlertError{Alert: a, Reason: trimReason(text), Err: net.ErrClosed})
	c.behind.wake()
	err := c.abort(a, text)
	c.behind.drop()
	if closeErr := c.transport.Close(); err == nil {
		err = closeErr
	}
	c.engine.stop()
	c.end(c.closedError())
	return err
}

func (c *Conn) abort(a Alert, text string) error {
	if !c.takeAll() {
		return errBusy
	}
	defer c.giveAll()
	c.writeDeadline.bound(c.engine.options.closeTimeout())
	if err := c.behind.sendRest(); err != nil {
		return err
	}
	if err := c.engine.abort(a, text); err != nil {
		return err
	}
	if err := c.flushLocked(); err != nil {
		return err
	}
	return c.drainLocked(ticketdefer.DrainAbort, func() error { return membio.Drain(c.transport) })
}

// takeAll makes the calls in progress return and takes their turns. closing is
// set, so none begins anew.
func (c *Conn) takeAll() bool {
	c.readDeadline.bound(0)
	c.writeDeadline.bound(0)
	patience := time.NewTimer(interruptTimeout)
	defer patience.Stop()
	turns := []*membio.Turn{&c.handshaking, &c.reading, &c.writing}
	for i, turn := range turns {
		if turn.TryLock() || turn.LockOr(nil, patience.C) {
			continue
		}
		for _, taken := range turns[:i] {
			taken.Unlock()
		}
		return false
	}
	return true
}

func (c *Conn) giveAll() {
	c.writing.Unlock()
	c.reading.Unlock()
	c.handshaking.Unlock()
}

// interruptTimeout is how long a call whose deadline has passed may take to come
// back. Only a transport without deadlines needs any time, or a callback of the
// configuration's.
const interruptTimeout = 500 * time.Millisecond

// drainLocked shuts down the sending side, and has read read to the peer's end.
// The caller has reading and writing.
func (c *Conn) drainLocked(cause ticketdefer.DrainCause, read func() error) error {
	within := c.engine.options.drainTimeout()
	half, ok := c.transport.(interface{ CloseWrite() error })
	if within == 0 || !ok {
		return nil
	}
	if !c.finSent {
		err := half.CloseWrite()
		if errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		// It fails after a reset, too, and an alert may have come before that.
		c.finSent = err == nil
	}
	c.readDeadline.bound(within)
	end := c.engine.trace.NoteDrain(cause, within)
	c.engine.trace.DeliverAside()
	err := read()
	end(drainEnd(err))
	return err
}

// Abort makes a fatal alert due, behind everything written and held, and ends the
// engine: see [Conn.Abort]. Take or WriteTo the rest, then close the transport.
// After Close or another Abort it returns net.ErrClosed. No Read, Write or
// Handshake may be in progress.
func (e *Engine) Abort(a Alert) error { return e.AbortWithReason(a, "") }

// AbortWithReason is as [Conn.AbortWithReason].
func (e *Engine) AbortWithReason(a Alert, text string) error {
	if !e.closed.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	defer e.deliver()
	err := e.abort(a, text)
	e.stop()
	return err
}

func (e *Engine) abort(a Alert, text string) error {
	var suite uint16
	var reason []byte
	if e.complete.Load() {
		suite = e.ConnectionState().CipherSuite
		if text != "" && e.sendsReasons {
			reason = reasonMessages(trimReason(text), e.goodTicket)
		}
	} else {
		_, head := e.wire.progress()
		suite = ticketdefer.CipherSuiteOf(head)
	}
	err := e.wire.abort(uint8(a), suite, reason)
	if errors.Is(err, ticketdefer.ErrNoKeys) {
		return e.provokeAlert()
	}
	return err
}

// provokeAlert makes crypto/tls send a fatal alert of its own, by a record that
// does not authenticate, or has no place in a handshake. It works whatever the
// version and the keys.
func (e *Engine) provokeAlert() error {
	before := e.wire.gate.Alerts()
	e.wire.poison()
	switch {
	case e.complete.Load():
		// Plaintext that crypto/tls has already is read first: a record at most.
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{e.tls.Load()})
	case e.wire.turn.begun():
		_, _ = e.wire.turn.step(nil)
	}
	if e.wire.gate.Alerts() == before {
		return ticketdefer.ErrNoKeys
	}
	return nil
}
