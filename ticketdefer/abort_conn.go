package ticketdefer

import (
	"io"
	"net"
	"slices"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// Abort ends the TLS session with a fatal alert and closes the transport (RFC
// 8446 6.2). What was written and held goes out first. A Write in progress
// returns with a timeout; deadlines set from now on have no effect. Abort waits
// up to send for the transport to take everything, and not past the write deadline;
// then up to drain for the peer's FIN, and not past the read deadline, for a close
// with unread input would send a RST that can overtake the alert. The transport is
// closed in every case.
//
// The error is ErrNoKeys if the alert cannot be sealed, and ErrEnded if
// close_notify or an alert went before it.
func (c *Conn) Abort(description uint8, send, drain time.Duration) error {
	return c.AbortOver(nil, description, send, drain)
}

// AbortOver is Abort for a connection whose keys this layer may not have, because it
// speaks TLS 1.2. There it makes the TLS stack above, whose Read is that of stack,
// send an alert of its own: bad_record_mac. The handshake must be complete, or the
// error is ErrNoKeys.
func (c *Conn) AbortOver(stack io.Reader, description uint8, send, drain time.Duration) error {
	if !c.ending.CompareAndSwap(false, true) {
		return ErrEnded
	}
	err := c.abort(stack, description, send, drain)
	if closeErr := c.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (c *Conn) abort(stack io.Reader, description uint8, send, drain time.Duration) error {
	s := c.session.Load()
	if s == nil {
		return ErrNoKeys
	}
	if err := c.interrupt(); err != nil {
		return err
	}
	due, err := s.gate.Abort(description, 0, nil)
	provoke := err == ErrNoKeys && stack != nil
	if err == nil || provoke {
		c.queueCut()
		c.transport.Queue(due...)
		err = c.transport.SetWriteDeadline(earlier(c.writeBy, send))
	}
	c.writing.Unlock()
	if err == nil && provoke {
		err = c.provoke(stack)
	}
	if err != nil {
		return err
	}
	if err := c.transport.Flush(); err != nil {
		return err
	}
	if drain <= 0 || c.transport.CloseWrite() != nil {
		return nil
	}
	if err := c.transport.SetReadDeadline(earlier(c.readBy, drain)); err != nil {
		return err
	}
	end := c.observer.NoteDrain(DrainAbort, drain)
	c.observer.DeliverAside()
	err = membio.Drain(c.transport)
	end(DrainEndOf(err))
	return err
}

// queueCut makes the rest of the record that a Write was stuck in the next to be sent.
// The caller has writing.
func (c *Conn) queueCut() {
	c.transport.Queue(c.cut)
	c.cut = nil
}

// earlier returns the end of within from now, or the deadline by if that comes first.
func earlier(by time.Time, within time.Duration) time.Time {
	t := time.Now().Add(within)
	if !by.IsZero() && by.Before(t) {
		return by
	}
	return t
}

// interruptTimeout is how long a Write whose deadline has passed may take to come
// back. Only a transport without deadlines needs any time.
const interruptTimeout = 500 * time.Millisecond

// interrupt brings a Read and a Write in progress back, and takes writing.
func (c *Conn) interrupt() error {
	c.deadlines.Lock()
	err := c.transport.SetDeadline(time.Unix(1, 0))
	c.deadlines.Unlock()
	if err != nil {
		return err
	}
	patience := time.NewTimer(interruptTimeout)
	defer patience.Stop()
	if !c.writing.TryLock() && !c.writing.LockOr(nil, patience.C) {
		return errStuck
	}
	return nil
}

// BadRecords returns what makes a TLS stack that reads it send a fatal alert: a
// record that does not authenticate, as long as TLS 1.3 has them (RFC 8446 5.2). It
// comes twice, which ends any record that the stack has a part of, TLS 1.2's longer
// ones too.
func BadRecords() []byte {
	const length = 16<<10 + 256
	record := make([]byte, recordHeaderLen+length)
	copy(record, []byte{recordApplicationData, 3, 3, length >> 8, length & 0xff})
	return slices.Concat(record, record)
}

// provoke makes the TLS stack read a record that does not authenticate, on which it
// sends an alert of its own.
func (c *Conn) provoke(stack io.Reader) error {
	c.sniffing.Lock()
	c.poison, c.poisoned = BadRecords(), true
	c.settleLocked()
	c.sniffing.Unlock()
	c.provoking.Store(true)
	defer c.provoking.Store(false)
	done := make(chan struct{})
	go func() { // a handshake that waits in a callback would hold it up
		defer close(done)
		_, _ = io.Copy(io.Discard, stack) // what the stack has opened already comes first
	}()
	patience := time.NewTimer(interruptTimeout)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	}
	if !c.provoked.Load() {
		return ErrNoKeys
	}
	c.writing.Lock() // the Write of the alert ends at the deadline
	c.queueCut()
	c.writing.Unlock()
	return nil
}

// readPoison reads what provoke has put in the place of the transport's input.
func (c *Conn) readPoison(p []byte) (n int, poisoned bool, err error) {
	c.sniffing.Lock()
	defer c.sniffing.Unlock()
	if !c.poisoned {
		return 0, false, nil
	}
	n = copy(p, c.poison)
	c.poison = c.poison[n:]
	if n == 0 && len(p) > 0 {
		return 0, true, net.ErrClosed
	}
	return n, true, nil
}

// passesAlert reports whether record, of the TLS stack, is what provoke waits for, as
// far as its outside tells.
func (c *Conn) passesAlert(record []byte) bool {
	if !c.provoking.Load() || len(record) == 0 || record[0] != recordAlert && len(record) != alertRecordLen {
		return false
	}
	c.provoked.Store(true)
	return true
}
