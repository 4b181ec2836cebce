package ticketdefer

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// A Conn is a net.Conn that goes below a TLS connection and holds back what TLS
// 1.3 sends on its own account after the handshake: NewSessionTicket, and the
// answers to KeyUpdate. Held records leave with the next application data or
// alert, in the same transport write, or with [Conn.FlushTickets].
//
// Until a ClientHello passes in either direction, and again after close_notify,
// bytes pass untouched, so a Conn may be put on before STARTTLS or AUTH TLS.
//
// The tls.Conn above must use a Config from [WrapConfig] or [BindConfig], or a
// fork of crypto/tls a KeyLogWriter from [KeyLogWriter]; without one everything
// passes and Stats says so.
//
// All methods may be called concurrently. Close while a Write is in flight
// breaks it, and drops what is held.
type Conn struct {
	transport *membio.Conn
	observer  *Observer // see Observe

	// writing is held across Filter and the transport write behind it, so
	// that records leave in the order of the gate's decisions. It is taken
	// before every other lock.
	writing membio.Turn

	// session is nil while plaintext passes. It is set by whichever
	// direction sees a ClientHello, and replaced under writing.
	session atomic.Pointer[session]
	latest  atomic.Pointer[session] // the same, but kept when plaintext follows
	closed  atomic.Bool
	ending  atomic.Bool // deadlines are this layer's own: Abort was called, or Close drains

	// Guarded by writing.
	sniffOut *helloSniffer // of a client's own ClientHello; nil but while it is looked for
	skip     int           // bytes that follow it in its record
	due      [][]byte      // empty between calls
	cut      []byte        // what the last Write could not send: the rest of a record

	deadlines       sync.Mutex // held while ending is looked at and a deadline set
	readBy, writeBy time.Time  // the user's deadlines; guarded by deadlines, fixed once ending is set

	// See AbortOver.
	provoking atomic.Bool // an alert of the TLS stack's passes, though ending is set
	provoked  atomic.Bool // one has

	// quiet is set while Read has nothing to look for in what passes: the session's
	// hellos are through. It changes under sniffing.
	quiet atomic.Bool

	sniffing sync.Mutex // never held across I/O
	// Guarded by sniffing.
	sniffIn     *helloSniffer // of a server's client's; nil but while it is looked for
	serverHello []byte        // what a client has received, up to its cipher suite
	poisoned    bool          // Read returns the rest of poison, and nothing of the transport's
	poison      []byte
}

// WrapConn returns a Conn over conn.
func WrapConn(conn net.Conn) *Conn {
	if c, ok := conn.(*Conn); ok {
		return c // twice would hold what is released
	}
	return &Conn{transport: membio.NewConn(conn)}
}

// Observe makes c note its events with o, and deliver them, each time in a goroutine
// of its own: the TLS stack above holds locks while it calls c. It must be called
// before c is used, and has no effect on the session of an earlier handshake.
func (c *Conn) Observe(o *Observer) { c.observer = o }

// WrapListener returns a listener whose connections are [Conn]s. Use it for
// libraries that call tls.Server or tls.NewListener themselves, and give those
// a Config from [WrapConfig].
func WrapListener(l net.Listener) net.Listener {
	if _, ok := l.(*listener); ok {
		return l
	}
	return &listener{l}
}

type listener struct{ net.Listener }

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return WrapConn(conn), nil
}

// Read reads from the transport.
func (c *Conn) Read(p []byte) (int, error) {
	if s := c.session.Load(); s != nil && c.quiet.Load() && !s.gate.Closed() {
		n, err := c.transport.Read(p)
		c.observer.DeliverAside()
		return n, err
	}
	if n, poisoned, err := c.readPoison(p); poisoned {
		return n, err
	}
	n, err := c.transport.Read(p)
	if n == 0 {
		return n, err
	}
	switch s := c.session.Load(); {
	case s == nil || s.gate.Closed():
		c.sniffInbound(p[:n])
	case s.gate.client:
		c.noteServerHello(s.gate, p[:n])
	}
	c.observer.DeliverAside()
	return n, err
}

// noteServerHello shows a client's gate the beginning of what has been received.
func (c *Conn) noteServerHello(g *Gate, p []byte) {
	c.sniffing.Lock()
	defer c.sniffing.Unlock()
	if missing := serverHelloPrefix - len(c.serverHello); missing > 0 {
		c.serverHello = append(c.serverHello, p[:min(len(p), missing)]...)
		g.noteInboundHello(c.serverHello)
	}
	c.settleLocked()
}

// settleLocked sets quiet to what is the case.
func (c *Conn) settleLocked() {
	s := c.session.Load()
	c.quiet.Store(!c.poisoned && s != nil && (!s.gate.client || len(c.serverHello) == serverHelloPrefix))
}

func (c *Conn) sniffInbound(p []byte) {
	c.sniffing.Lock()
	defer c.sniffing.Unlock()
	if c.sniffIn == nil {
		c.sniffIn = new(helloSniffer)
	}
	if _, _, found := c.sniffIn.sniff(p); found {
		c.begin(newSession(c.sniffIn.random(), NewServerGate()))
		c.sniffIn = nil
		c.settleLocked()
	}
}

// begin starts a TLS session.
func (c *Conn) begin(s *session) {
	s.gate.Observe(c.observer)
	c.latest.Store(s)
	if old := c.session.Swap(s); old != nil {
		old.end()
	}
	if c.closed.Load() { // Close may have come before the Swap
		s.end()
	}
}

// Write writes to the transport what of p is due, behind what was held. It
// reports len(p) when everything was written or held.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer func() {
		c.writing.Unlock()
		c.observer.DeliverAside()
	}()
	if c.ending.Load() && !c.passesAlert(p) {
		return 0, net.ErrClosed // an alert is the last thing to send
	}

	s := c.session.Load()
	if s != nil && c.skip == 0 && s.gate.pass(p) {
		n, err := c.transport.Write(p)
		if err != nil {
			c.keep(p[n:])
		}
		return n, err
	}
	if s != nil && s.gate.Closed() && len(p) > 0 && p[0] != recordApplicationData {
		// Plaintext again (FTP's CCC), or the ClientHello of a new session.
		if c.session.CompareAndSwap(s, nil) {
			s.end()
		}
		s = c.session.Load()
	}
	rest := p
	if s == nil {
		if c.sniffOut == nil {
			c.sniffOut = new(helloSniffer)
		}
		used, skip, found := c.sniffOut.sniff(p)
		if !found {
			return c.transport.Write(p)
		}
		s = newSession(c.sniffOut.random(), NewClientGate())
		c.sniffOut = nil
		c.begin(s)
		c.skip = skip
		rest = p[used:]
	}
	n := min(c.skip, len(rest))
	c.skip -= n
	rest = rest[n:]
	passed := len(p) - len(rest) // plaintext, or the ClientHello

	due := c.due
	if passed > 0 {
		due = append(due, p[:passed])
	}
	due, err := s.gate.Filter(due, rest)
	s.stopSearch()
	if err != nil {
		return 0, err
	}
	defer func() {
		clear(due)
		c.due = due[:0]
	}()
	switch {
	case len(due) == 0:
		return len(p), nil
	case len(due) == 1 && len(due[0]) == len(p):
		// Not p: it may be a record sealed again, or one that began earlier.
		n, err := c.transport.Write(due[0])
		if err != nil {
			c.keep(due[0][n:])
		}
		return n, err
	}
	last := len(due) - 1
	c.transport.Queue(due[:last]...)
	if n, err := c.transport.Write(due[last]); err != nil {
		c.keep(due[last][n:])
		return 0, err
	}
	return len(p), nil
}

// keep keeps the rest of what Abort, or a deadline, has cut short: an alert of
// Abort's comes at the end of a record. To crypto/tls the failure of a Write is
// final, so nobody else has a use for it.
func (c *Conn) keep(rest []byte) { c.cut = append(c.cut, rest...) }

// FlushTickets sends what is held, without waiting for application data. It
// waits for a Write in flight. After a timeout what is left goes out before
// anything else.
func (c *Conn) FlushTickets() error {
	c.writing.Lock()
	defer func() {
		c.writing.Unlock()
		c.observer.DeliverAside()
	}()
	return c.flushLocked()
}

func (c *Conn) flushLocked() error {
	if s := c.session.Load(); s != nil {
		c.transport.Queue(s.gate.Release()...)
	}
	return c.transport.Flush()
}

// Stats returns the counters of the current TLS session, or of the last one.
func (c *Conn) Stats() Stats {
	if s := c.latest.Load(); s != nil {
		return s.gate.Stats()
	}
	return Stats{}
}

// KeyLogWriter returns a writer that takes the traffic secrets of this
// connection, for a TLS configuration that serves no other. See [BindConfig].
func (c *Conn) KeyLogWriter(next io.Writer) io.Writer {
	return &boundWriter{c.gate, next}
}

func (c *Conn) gate() *Gate {
	if s := c.session.Load(); s != nil {
		return s.gate
	}
	return nil
}

func (c *Conn) expectECH() {
	if s := c.session.Load(); s != nil {
		sessions.expectECH(s.gate)
	}
}

// refusalDrain is how long a client that was refused has to see the alert.
const refusalDrain = 2 * time.Second

// Close closes the transport. Held records that no close_notify took along are
// dropped, and the traffic secrets are overwritten.
//
// After a fatal alert of a server, as when a handshake has failed, the transport
// stays open in the background, for 2 seconds at most, and what the client still
// sends is discarded: closing at once would send a RST, and the client would report
// that in place of the alert. Deadlines set from then on have no effect, and a
// second Close returns net.ErrClosed.
func (c *Conn) Close() error {
	defer c.observer.DeliverAside()
	again := c.closed.Swap(true)
	s := c.session.Load()
	if s == nil {
		return c.transport.Close()
	}
	refused := s.gate.refused()
	s.end()
	if refused && again {
		return net.ErrClosed
	}
	if refused && c.beginEnding() {
		return c.observer.CloseDrained(c.transport, refusalDrain)
	}
	return c.transport.Close()
}

// beginEnding makes deadlines this layer's own. It reports false if they were.
func (c *Conn) beginEnding() bool {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	return c.ending.CompareAndSwap(false, true)
}

// CloseWrite sends what is held and shuts down the transport's sending side,
// where it has one. It sends no close_notify; tls.Conn.CloseWrite does.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer func() {
		c.writing.Unlock()
		c.observer.DeliverAside()
	}()
	if err := c.flushLocked(); err != nil {
		return err
	}
	return c.transport.CloseWrite()
}

// CloseRead shuts down the transport's receiving side, where it has one.
func (c *Conn) CloseRead() error { return c.transport.CloseRead() }

// NetConn returns the transport. Writing to it breaks the TLS stream.
func (c *Conn) NetConn() net.Conn { return c.transport.NetConn() }

// LocalAddr returns the transport's local address.
func (c *Conn) LocalAddr() net.Addr { return c.transport.LocalAddr() }

// RemoteAddr returns the transport's remote address.
func (c *Conn) RemoteAddr() net.Addr { return c.transport.RemoteAddr() }

// SetDeadline sets the transport's deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadline(c.transport.SetDeadline, t, &c.readBy, &c.writeBy)
}

// SetReadDeadline sets the transport's deadline for Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(c.transport.SetReadDeadline, t, &c.readBy)
}

// SetWriteDeadline sets the transport's deadline for Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(c.transport.SetWriteDeadline, t, &c.writeBy)
}

func (c *Conn) setDeadline(set func(time.Time) error, t time.Time, by ...*time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if c.ending.Load() {
		return nil
	}
	for _, b := range by {
		*b = t
	}
	return set(t)
}
