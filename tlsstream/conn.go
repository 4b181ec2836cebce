package tlsstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// Theory of operation.
//
// crypto/tls wants a net.Conn that blocks, and mixes the two directions: Read
// answers KeyUpdates, so it waits for the write lock, which a blocked Write
// holds; and the server's handshake ends with a ticket that nobody asked for. A
// peer that only writes then loses data to a TCP RST, or both sides block.
//
// A Conn is an Engine, crypto/tls over memory, and a transport:
//
//	Write ─► crypto/tls seals ─► gate ─► pending ─► transport   (the writer's turn)
//	              ▲                held                         (nobody's turn)
//	Read  ─► crypto/tls opens ◄──────────────────── transport   (the reader's turn)
//
// crypto/tls writes into memory, so whatever Read makes it write it never waits
// for. The gate sorts that: application data, and alerts, become pending;
// tickets and KeyUpdate answers are held, and become pending in front of the
// next of those. Only a call that is the application's turn to write moves
// pending bytes into the transport: Handshake, Write, ReadFrom, FlushTickets,
// CloseWrite, Close. The one exception is a fatal alert that Read has to send,
// which gets one bounded attempt.
//
// Reading is direct: crypto/tls reads the transport while it holds its read
// lock, and nothing that writes ever takes that lock.
//
// Pending bytes are sealed: their sequence numbers are spent, so they leave
// before anything later and are never dropped while the stream lives. That is
// why a Write that times out is not the end, as it is with crypto/tls: n says
// how many bytes were sealed, they are pending, and the next Write begins with
// them. A Write of any length is sealed in slices, each sent before the next is
// sealed, so pending bytes are bounded by one slice.
//
// Over a socket application data takes a shorter way: as each record is sealed it is
// offered to the kernel, by a write that never waits and says whether more follows
// (MSG_MORE), and only what the kernel has no room for becomes pending. So a Write of
// many records costs little more than one system call, nothing is copied, and a writer
// whose peer does not read holds the rest of one record. It happens under crypto/tls's
// write lock, which a Read that answers a KeyUpdate takes too: it never waits for
// the peer, only for that one call.
//
// With Options.WriteBehind a goroutine does this for Write: see writebehind.go. What
// it sends the application has written before, so it is still the application's turn.
//
// Deadlines of the handshake are no end either: the handshake is suspended
// between flights, and the next call goes on with it.

// alertTimeout bounds the one attempt to send a fatal alert from Read. It
// matters only when the peer has stopped reading.
const alertTimeout = time.Second

// A Conn is a TLS stream that writes to its transport only when the application
// writes or closes. It is a net.Conn, and may be used wherever a *tls.Conn may,
// except by code that asks for that very type (net/http's HTTP/2 does; see
// [Listener.Accept]).
//
// Any number of goroutines may call its methods at once. A Read never waits for
// a Write.
type Conn struct {
	engine    Engine
	transport net.Conn

	// Each of these is held for a whole call, transport I/O included. Order:
	// handshaking, reading, writing. Close, and a writer whose transport has
	// failed, take reading last, and wait for it a bounded time only.
	handshaking membio.Turn
	reading     membio.Turn
	writing     membio.Turn

	failed  bool        // the handshake failed, and its alert was sent or given up; guarded by handshaking
	ready   atomic.Bool // the handshake is complete, and its last flight was sent
	closing atomic.Bool // Close was called

	// Guarded by reading.
	timeout  error          // why the transport had nothing for this Read
	laterErr error          // of a transport that gave bytes with it
	ahead    *membio.Buffer // application data that explain came across; nil if it never looked

	ending ending

	// aborted is what calls return after Abort.
	aborted atomic.Pointer[AlertError]
	// heard is set once Read has returned application data or an end: tickets
	// of a server that does not defer came before it.
	heard atomic.Bool
	// refused is set when a server's handshake has failed, and an alert is on
	// its way to a client that may still be sending.
	refused atomic.Bool
	// readClosed is set by CloseRead.
	readClosed atomic.Bool

	readDeadline, writeDeadline deadline

	finSent bool // guarded by writing

	behind *behind // of Options.WriteBehind; nil without it
}

// Server returns the server's side of a TLS connection over conn. config is as
// for tls.Server. It is cloned; session tickets remain those of config.
func Server(conn net.Conn, config *tls.Config) *Conn { return (&Options{}).Server(conn, config) }

// Client returns the client's side of a TLS connection over conn. config is as
// for tls.Client: it must set ServerName or InsecureSkipVerify.
func Client(conn net.Conn, config *tls.Config) *Conn { return (&Options{}).Client(conn, config) }

// Server is the function Server with options. It panics if they are invalid.
func (o *Options) Server(conn net.Conn, config *tls.Config) *Conn {
	return o.newConn(conn, config, false)
}

// Client is the function Client with options. It panics if they are invalid.
func (o *Options) Client(conn net.Conn, config *tls.Config) *Conn {
	return o.newConn(conn, config, true)
}

func (o *Options) newConn(conn net.Conn, config *tls.Config, client bool) *Conn {
	if err := o.check(); err != nil {
		panic(err)
	}
	c := &Conn{transport: conn}
	c.engine.trace = o.Trace.observer(c)
	c.readDeadline.conn, c.writeDeadline.conn, c.writeDeadline.write = c, c, true
	e := &c.engine
	e.client, e.options, e.netConn = client, *o, conn
	e.wire.source = (*connTransport)(c)
	e.wire.socket = membio.SocketOf(conn)
	if e.wire.socket != nil {
		e.wire.loanSource = c.readTransportTo
	}
	e.wire.local, e.wire.remote = conn.LocalAddr(), conn.RemoteAddr()
	e.init(config)
	c.behind = newBehind(c, o.WriteBehind)
	return c
}

// A connTransport is a Conn as the source of its own transport's bytes.
type connTransport Conn

func (t *connTransport) Read(p []byte) (int, error) { return (*Conn)(t).readTransport(p) }

// Handshake runs the handshake, if it has not been run. Read and Write do so
// too. After a timeout it may be called again, with later deadlines, and goes on
// where it was.
func (c *Conn) Handshake() error {
	if c.ready.Load() { // each Read and Write asks
		return nil
	}
	return c.HandshakeContext(context.Background())
}

// HandshakeContext is Handshake with a context. If ctx ends before the
// handshake does, the connection is closed and ctx's error returned, as with
// crypto/tls. Callbacks of the configuration see the context of the call that
// began the handshake. A failure is a *HandshakeError.
func (c *Conn) HandshakeContext(ctx context.Context) (err error) {
	if c.ready.Load() {
		return nil
	}
	defer c.deliver()
	if !c.handshaking.TryLock() && !c.handshaking.LockOr(ctx.Done(), nil) {
		return ctx.Err()
	}
	defer c.handshaking.Unlock()
	defer func() {
		if err != nil && c.aborted.Load() != nil {
			err = c.closedError()
		}
	}()

	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() {
			c.transport.Close()
			c.engine.wire.Close()
		})
		defer func() {
			if !stop() {
				err = ctx.Err()
			}
		}()
	}
	var broken error // what sending failed with
	for !c.ready.Load() {
		if c.closing.Load() {
			return c.closedError()
		}
		stepErr := c.engine.handshake(ctx)
		if stepErr != nil && stepErr != ErrWantRead {
			if !c.failed {
				c.failed = true
				c.sendAlert()
			}
			c.refused.Store(!c.engine.client)
			c.end(stepErr)
			return stepErr
		}
		if err := c.flush(); err != nil {
			if isTimeout(err) {
				return c.engine.handshakeError(err)
			}
			if stepErr == nil {
				return c.engine.handshakeError(c.explain(err))
			}
			broken = err
		}
		if stepErr == nil {
			c.ready.Store(true)
			break
		}
		if err := c.engine.wire.fill(c.transport, broken); err != nil && !c.closing.Load() {
			return c.engine.handshakeError(err)
		}
	}
	return nil
}

// flush sends what is pending. The caller is a writer that does not hold
// writing.
func (c *Conn) flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.flushLocked()
}

// flushLocked sends what is pending until nothing is: a fatal alert of Read's
// may come while it writes.
func (c *Conn) flushLocked() error {
	for c.engine.Pending() > 0 {
		if _, err := c.engine.WriteTo(c.transport); err != nil {
			return err
		}
	}
	return nil
}

// sendAlert makes one bounded attempt to send an alert that crypto/tls has
// written from Read or a handshake. If a writer is at work, it sends it.
func (c *Conn) sendAlert() {
	if c.engine.Pending() == 0 {
		return
	}
	if !c.writing.TryLock() {
		return
	}
	defer c.writing.Unlock()
	c.writeDeadline.bound(alertTimeout)
	defer c.writeDeadline.unbound()
	_ = c.flushLocked() // the error that caused the alert is the one to report
}

// readTransport is where crypto/tls reads after the handshake. A timeout must not
// become crypto/tls's final error, so it is shown ErrWantRead, and Read returns
// the transport's own error.
func (c *Conn) readTransport(p []byte) (int, error) {
	if c.laterErr != nil {
		return 0, c.laterErr
	}
	c.engine.trace.DeliverAside() // the transport may have nothing for a long time
	n, err := c.transport.Read(p)
	return c.settleRead(n, err)
}

// readTransportTo is readTransport into memory that is lent when there is something to
// read: then a Read that waits holds none.
func (c *Conn) readTransportTo(l membio.Lender) (int, error) {
	if c.laterErr != nil {
		return 0, c.laterErr
	}
	c.engine.trace.DeliverAside()
	n, err := c.engine.wire.socket.ReadTo(l)
	return c.settleRead(n, err)
}

func (c *Conn) settleRead(n int, err error) (int, error) {
	switch {
	case err == nil:
	case isTimeout(err):
		c.timeout = err
		err = ErrWantRead
	case n > 0:
		c.laterErr = err
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

// begin waits for a turn, unless the Conn is closed: Close and Abort hold turns for
// as long as they drain.
func (c *Conn) begin(turn *membio.Turn) error {
	if c.closing.Load() {
		return c.closedError()
	}
	turn.Lock()
	return nil
}

// finish gives a turn of begin's back, and tells the Trace what has happened in it.
func (c *Conn) finish(turn *membio.Turn) {
	turn.Unlock()
	c.deliver()
}

// Read reads application data, after the handshake. It returns io.EOF after the
// peer's close_notify, and ErrTruncated if the peer's stream ends without one.
// A timeout is not final. It returns as soon as there are bytes, and never waits
// for a Write.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	if err := c.begin(&c.reading); err != nil {
		return 0, err
	}
	defer c.finish(&c.reading)

	switch {
	case c.aborted.Load() != nil:
		return 0, c.closedError()
	case c.readClosed.Load():
		return 0, io.EOF
	case c.ahead != nil && c.ahead.Len() > 0:
		return c.ahead.Read(p)
	}
	n, err := c.readLocked(p)
	if n > 0 {
		c.behind.turnToSpeak()
	}
	if err != nil && (isTimeout(err) || isClosed(err)) { // perhaps because it was called back
		switch {
		case c.closing.Load():
			err = c.closedError()
		case c.readClosed.Load():
			err = io.EOF
		}
	}
	return n, err
}

// readLocked is Read for a caller that has reading.
func (c *Conn) readLocked(p []byte) (int, error) {
	alerts := c.engine.wire.gate.Alerts()
	n, err := c.engine.read(p)
	if err == ErrWantRead {
		return n, c.timeout
	}
	if (n > 0 || err != nil) && !c.heard.Load() {
		c.heard.Store(true)
	}
	if err != nil {
		c.end(err)
		if c.engine.wire.gate.Alerts() > alerts {
			c.sendAlert()
		}
	}
	return n, err
}

// Write writes application data, after the handshake. What is held goes first,
// in the same transport write.
//
// n is the number of bytes that were sealed into the stream. After a timeout
// those that the transport has not taken are pending: they leave before anything
// else, with the next Write (which may be empty), FlushTickets, CloseWrite or
// Close, and must not be written again. So a timeout is not final: set a later
// deadline and go on with p[n:]. Other errors are final.
//
// With Options.WriteBehind it returns earlier, and promises less: see there.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	if c.behind != nil {
		return c.behind.write(p)
	}
	if err := c.begin(&c.writing); err != nil {
		return 0, err
	}
	defer c.finish(&c.writing)

	if err := c.refusal(); err != nil {
		return 0, err
	}
	n, slice := 0, c.engine.wire.slice()
	for {
		if c.closing.Load() {
			return n, c.closedError()
		}
		if err := c.flushLocked(); err != nil {
			return n, c.sendError(err)
		}
		if n == len(p) {
			return n, nil
		}
		if c.writeDeadline.passed() {
			return n, c.opError("write", os.ErrDeadlineExceeded)
		}
		end := min(len(p), n+slice)
		k, err := c.engine.seal(p[n:end], len(p)-end)
		n += k
		if err != nil {
			_ = c.flushLocked()
			return n, err
		}
	}
}

// closedError is what calls after Close or Abort return.
func (c *Conn) closedError() error {
	if aborted := c.aborted.Load(); aborted != nil {
		return aborted
	}
	return net.ErrClosed
}

func (c *Conn) opError(op string, err error) error {
	local, remote := c.engine.wire.LocalAddr(), c.engine.wire.RemoteAddr() // never nil
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: remote, Err: err}
}

// ReadFrom writes what it reads from r, up to its EOF, with a Write for each
// Read. It implements io.ReaderFrom.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	return copyBuffer(struct{ io.Writer }{c}, r)
}

// WriteTo writes what arrives to w, up to the peer's close_notify. It implements
// io.WriterTo.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	return copyBuffer(w, struct{ io.Reader }{c})
}

var copyBuffers = sync.Pool{New: func() any { return new([writeSlice]byte) }}

// copyBuffer is io.Copy with a buffer as large as what Write seals at once. One
// of the sides is a Conn without its ReadFrom or WriteTo.
func copyBuffer(w io.Writer, r io.Reader) (int64, error) {
	b := copyBuffers.Get().(*[writeSlice]byte)
	defer copyBuffers.Put(b)
	return io.CopyBuffer(w, r, b[:])
}

// FlushTickets sends what is held now, without application data: the server's
// NewSessionTicket, and answers to KeyUpdate. A peer that never reads can then
// lose data as with stock crypto/tls: call it when the peer is known to read. It
// does not wait for what Options.WriteBehind has gathered: see Flush.
func (c *Conn) FlushTickets() error {
	if err := c.Handshake(); err != nil {
		return err
	}
	if err := c.begin(&c.writing); err != nil {
		return err
	}
	defer c.finish(&c.writing)
	if c.closing.Load() {
		return c.closedError()
	}
	c.engine.wire.release()
	return c.sendError(c.flushLocked())
}

// CloseWrite ends the sending direction: what is pending and held, close_notify,
// and TCP FIN where the transport has CloseWrite. Reading goes on; Write then
// returns an error that matches net.ErrClosed. After a timeout it may be called
// again. It is an error before the handshake is complete.
func (c *Conn) CloseWrite() error {
	if !c.ready.Load() {
		return errEarlyCloseWrite
	}
	if err := c.behind.closeWrite(); err != nil {
		return err
	}
	if err := c.begin(&c.writing); err != nil {
		return err
	}
	defer c.finish(&c.writing)
	if c.closing.Load() {
		return c.closedError()
	}
	if err := c.engine.CloseWrite(); err != nil {
		return err
	}
	if err := c.flushLocked(); err != nil || c.finSent {
		return c.sendError(err)
	}
	c.finSent = true
	if t, ok := c.transport.(interface{ CloseWrite() error }); ok {
		if err := t.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) { // as of a wrapper
			return c.sendError(err)
		}
	}
	return nil
}

// ConnectionState returns the zero ConnectionState until the handshake is
// complete.
func (c *Conn) ConnectionState() tls.ConnectionState { return c.engine.ConnectionState() }

// VerifyHostname is as the method of tls.Conn. It is an error before the
// handshake is complete.
func (c *Conn) VerifyHostname(host string) error {
	if !c.ready.Load() {
		return errors.New("tlsstream: VerifyHostname before the handshake is complete")
	}
	return c.engine.verifyHostname(host)
}

// OCSPResponse returns the stapled OCSP response of the server, if any.
func (c *Conn) OCSPResponse() []byte { return c.ConnectionState().OCSPResponse }

// NetConn returns the transport. I/O on it breaks the stream.
func (c *Conn) NetConn() net.Conn { return c.transport }

// TLS returns the tls.Conn inside, which has no transport: it reads and writes
// memory. It is there for what only its type offers, and not for I/O. Do not
// call its methods before the handshake is complete: they may block for ever. With
// Options.OwnRecords in effect it is nil from then on, except where a client keeps it for
// its session cache; it is then out of use, and what is done with it has no effect on the stream.
func (c *Conn) TLS() *tls.Conn { return c.engine.tls.Load() }

// Stats returns the stream's counters.
func (c *Conn) Stats() Stats {
	s := c.engine.Stats()
	s.Gathered = c.behind.stats()
	return s
}

// LocalAddr returns the transport's local address.
func (c *Conn) LocalAddr() net.Addr { return c.transport.LocalAddr() }

// RemoteAddr returns the transport's remote address.
func (c *Conn) RemoteAddr() net.Addr { return c.transport.RemoteAddr() }

// SetDeadline sets both deadlines. As with all of them, a call that runs into
// one returns an error that matches os.ErrDeadlineExceeded, and can be made
// again with a later one.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline for Read, and for what a handshake reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.readDeadline.user(t) }

// SetWriteDeadline sets the deadline for Write, Flush, FlushTickets, CloseWrite and
// Close, for what a handshake writes, and for what leaves behind the Writes of
// Options.WriteBehind.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	defer c.behind.resume()
	return c.writeDeadline.user(t)
}
