package tlsstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
)

// writeSlice is how many bytes are sealed before they are sent, where they are sent
// from memory of this layer's: four records of full size, which is where fewer system
// calls stop paying, and what bounds the memory of a writer whose peer does not read.
const writeSlice = 64 << 10

// recordSlice is the same where each record is offered to the kernel as it is sealed:
// one record, so that a writer whose peer does not read holds no more than its rest.
const recordSlice = 16 << 10

// An Engine is a TLS connection without I/O, in the manner of a memory BIO:
// crypto/tls between two buffers. What arrives from the peer goes in with Feed;
// what is due to the peer comes out with Take. Handshake, Read and Write return
// [ErrWantRead] when they need more from the peer; the same call is then made
// again. An Engine has no goroutine, except for one while a handshake is
// suspended between two calls.
//
// What TLS 1.3 sends on its own account after the handshake is held until the
// application's next Write, FlushTickets, CloseWrite or Close: Take does not
// show it before.
//
// One goroutine may read (Feed, FeedEOF, Read) and one may write (Write, Take,
// WriteTo, FlushTickets, CloseWrite) at the same time; until the handshake is
// complete, only one in all. Close may be called at any time.
type Engine struct {
	client  bool
	options Options
	tls     atomic.Pointer[tls.Conn] // nil once it is dropped: see own
	wire    transport
	netConn net.Conn // of the Conn that this is the engine of; nil otherwise

	handshaking membio.Turn // held while the handshake runs a step
	failed      error       // the handshake's final error; guarded by handshaking
	complete    atomic.Bool
	closed      atomic.Bool

	// With Options.OwnRecords.
	setup    *ownSetup    // until the handshake is complete; guarded by handshaking
	own      *ownRecords  // set before complete, if the records are ours
	ownState atomic.Int32 // Stats.OwnRecords

	trace       *ticketdefer.Observer      // of options.Trace; nil without one
	peerAlerted atomic.Bool                // the peer's alert, or close_notify, has been noted with trace
	lastAlert   atomic.Pointer[AlertError] // of withAlert
	writeClosed atomic.Bool                // CloseWrite was called

	// With Options.Reasons.
	reasons      *reasonCache // a client's
	sendsReasons bool         // a server's: the client accepts tickets; set during the handshake
	goodTicket   []byte       // a server's: the client's, unless it is very long; set during the handshake
}

// NewServerEngine returns an Engine for the server's side of a connection.
// config is as for tls.Server; it is cloned, and its session ticket keys stay
// its own.
func NewServerEngine(config *tls.Config) *Engine { return (&Options{}).ServerEngine(config) }

// NewClientEngine returns an Engine for the client's side of a connection.
// config is as for tls.Client.
func NewClientEngine(config *tls.Config) *Engine { return (&Options{}).ClientEngine(config) }

// ServerEngine is NewServerEngine with options. It panics if they are invalid.
func (o *Options) ServerEngine(config *tls.Config) *Engine { return o.standalone(false, config) }

// ClientEngine is NewClientEngine with options. It panics if they are invalid.
func (o *Options) ClientEngine(config *tls.Config) *Engine { return o.standalone(true, config) }

func (o *Options) standalone(client bool, config *tls.Config) *Engine {
	if err := o.check(); err != nil {
		panic(err)
	}
	e := &Engine{client: client, options: *o, trace: o.Trace.observer(nil)}
	e.init(config)
	return e
}

// init makes the tls.Conn. The transport's addresses and source are set.
func (e *Engine) init(config *tls.Config) {
	gate, construct := ticketdefer.NewServerGate(), tls.Server
	if e.client {
		gate, construct = ticketdefer.NewClientGate(), tls.Client
	}
	e.wire.gate = gate
	gate.Observe(e.trace)
	gate.AwaitEstablished()
	e.wire.due.buffer.Limit, e.wire.due.sending.Limit = -1, -1 // Write, Handshake and the gate bound it
	e.wire.turn = newHandshakeTurn()
	bound := ticketdefer.BindConfig(config, gate)
	// A renegotiation is a handshake inside Read, where nothing can suspend
	// it. crypto/tls answers with no_renegotiation.
	bound.Renegotiation = tls.RenegotiateNever
	if e.options.Reasons {
		e.wireReasons(bound)
	}
	var under net.Conn = &e.wire
	if e.options.OwnRecords || ownByDefault {
		under = e.wireOwn(bound)
	}
	e.tls.Store(construct(under, bound))
}

// Feed takes ciphertext from the peer and returns how many bytes it took. It
// takes fewer than it is given, with [ErrInputFull], when 66,580 bytes wait to be
// read: Read (or Handshake), then feed the rest. After FeedEOF or Close it
// returns net.ErrClosed.
func (e *Engine) Feed(p []byte) (int, error) { return e.wire.feed(p) }

// FeedEOF says that the peer's stream has ended, as by TCP FIN.
func (e *Engine) FeedEOF() { e.wire.fail(io.EOF) }

// Take moves ciphertext that is due to the peer into p and returns how many
// bytes. Records that are held are not due. It returns 0 and nil when nothing
// is due now, and io.EOF when nothing will ever be, after Close.
func (e *Engine) Take(p []byte) (int, error) {
	n := e.wire.take(p)
	if n == 0 && len(p) > 0 && e.closed.Load() {
		return 0, io.EOF
	}
	return n, nil
}

// Pending returns how many bytes Take would give.
func (e *Engine) Pending() int { return e.wire.due.pending() }

// WriteTo makes one Write to w of all that is due; writev, if w is a
// *net.TCPConn. What w did not take stays due. It implements io.WriterTo.
func (e *Engine) WriteTo(w io.Writer) (int64, error) { return e.wire.send(w) }

// Handshake runs the handshake as far as it can go. It returns nil when the
// handshake is complete, ErrWantRead when the peer's next flight is needed, and
// otherwise a *HandshakeError, which is final. What Take returns must reach the
// peer in each of these cases: the last is usually an alert.
func (e *Engine) Handshake() error {
	if e.complete.Load() { // each Read and Write asks
		return nil
	}
	defer e.deliver()
	return e.handshake(context.Background())
}

// handshake is Handshake with the context that crypto/tls sees, if this is the
// first step.
func (e *Engine) handshake(ctx context.Context) error {
	if e.complete.Load() {
		return nil
	}
	e.handshaking.Lock()
	defer e.handshaking.Unlock()
	switch {
	case e.complete.Load():
		return nil
	case e.failed != nil:
		return e.failed
	case e.closed.Load():
		return net.ErrClosed
	case e.wire.starved() && (e.wire.turn.begun() || !e.client && e.netConn == nil):
		// Nothing to go on with. A server's engine costs no goroutine
		// before its ClientHello.
		return ErrWantRead
	}
	returned := false
	defer func() {
		if !returned { // nor will it: a callback panicked or called Goexit
			e.failed = e.handshakeError(errCallback)
		}
	}()
	alerts := e.wire.gate.Alerts()
	var first func() error
	if !e.wire.turn.begun() {
		first = func() error { return e.tls.Load().HandshakeContext(ctx) }
	}
	ended, err := e.wire.turn.step(first)
	returned = true
	if err != nil {
		e.noteLocalAlert(err, alerts)
	}
	switch {
	case !ended:
		return ErrWantRead
	case err != nil:
		e.failed = e.handshakeError(err)
		return e.failed
	}
	state := e.tls.Load().ConnectionState()
	e.takeOver(state)
	if state.Version < tls.VersionTLS13 {
		// A resumed handshake of TLS 1.2 logs no secret that would tell.
		e.wire.gate.Disable(ticketdefer.DeferralTLS12)
	} else {
		e.wire.gate.Established(state.CipherSuite)
	}
	e.wire.start()
	e.complete.Store(true)
	if e.closed.Load() { // meanwhile, when there was nothing to say goodbye to
		return net.ErrClosed
	}
	return nil
}

// Read reads application data. It handshakes first if need be. It returns
// ErrWantRead when the peer's next record has not come, io.EOF after
// close_notify, and ErrTruncated when FeedEOF was called before that. Other
// errors are final.
func (e *Engine) Read(p []byte) (int, error) {
	defer e.deliver()
	if err := e.Handshake(); err != nil {
		return 0, err
	}
	return e.read(p)
}

// read is Read after the handshake.
func (e *Engine) read(p []byte) (int, error) {
	n, err := e.readRecords(p)
	switch {
	case err == nil:
	case n > 0 && err == ErrWantRead:
		// crypto/tls looks for a close_notify behind the data.
		return n, nil
	case err == io.EOF && e.wire.truncated() && !e.options.AllowTruncation,
		errors.Is(err, io.ErrUnexpectedEOF) && e.wire.truncated():
		err = ErrTruncated
	default:
		if err == io.EOF && !e.wire.truncated() {
			e.noteRemoteAlert(AlertCloseNotify)
		}
		err = e.withAlert(err)
	}
	return n, err
}

// Write seals p, and releases what is held before it. It handshakes first if
// need be. At most about 64 KiB are sealed ahead of Take: past that Write
// returns how many bytes of p it took, and [ErrWantWrite].
func (e *Engine) Write(p []byte) (int, error) {
	defer e.deliver()
	if err := e.Handshake(); err != nil {
		return 0, err
	}
	if e.own != nil {
		e.own.writes.Add(1) // before closed is looked at
		defer e.own.writes.Add(-1)
	}
	if e.closed.Load() {
		return 0, net.ErrClosed
	}
	n := 0
	for n < len(p) {
		room := writeSlice - e.Pending()
		if room <= 0 {
			return n, ErrWantWrite
		}
		k, err := e.seal(p[n:min(n+room, len(p))], 0)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// seal seals p, which is to leave behind what is due, and in front of more bytes of
// the same Write.
func (e *Engine) seal(p []byte, more int) (int, error) {
	n, err := e.sealRecords(p, more)
	switch {
	case err == nil:
	case e.writeClosed.Load():
		err = errWriteClosed
	default:
		err = e.withAlert(err)
	}
	return n, err
}

// FlushTickets makes due what is held: the server's NewSessionTicket, and
// answers to KeyUpdate. It does nothing before the handshake is complete.
func (e *Engine) FlushTickets() error {
	if !e.complete.Load() {
		return nil
	}
	defer e.deliver()
	e.wire.release()
	return nil
}

// CloseWrite makes close_notify due, behind everything written and held.
// Reading goes on; writing is over: Write then returns an error that matches
// net.ErrClosed. It is an error before the handshake is complete.
func (e *Engine) CloseWrite() error {
	if !e.complete.Load() {
		return errEarlyCloseWrite
	}
	defer e.deliver()
	e.writeClosed.Store(true)
	return e.sealCloseNotify()
}

// Close ends the engine. If the handshake is complete and no Write is in
// progress, close_notify becomes due as with CloseWrite; what is due can still
// be taken. A suspended handshake is ended, and the gate's copies of traffic
// secrets are overwritten. A second call returns net.ErrClosed.
func (e *Engine) Close() error {
	if !e.closed.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	defer e.deliver()
	var err error
	if e.complete.Load() {
		err = e.closeRecords()
	}
	e.stop()
	return err
}

// stop frees what the engine holds, and leaves no goroutine behind.
func (e *Engine) stop() {
	e.closed.Store(true)
	e.wire.Close()
	// If a step is running, in a callback perhaps, it fails at its next Read, and
	// its caller is there to see it.
	if e.handshaking.TryLock() {
		if e.wire.turn.begun() {
			<-e.wire.turn.finished
		}
		e.handshaking.Unlock()
	}
	e.wire.gate.Wipe()
	if e.complete.Load() && e.own != nil {
		e.own.reader.wipe()
	}
}

// ConnectionState returns the zero ConnectionState until the handshake is
// complete.
func (e *Engine) ConnectionState() tls.ConnectionState {
	if !e.complete.Load() {
		return tls.ConnectionState{} // crypto/tls holds its lock while suspended
	}
	return e.state()
}

// Stats are the counters of a stream.
type Stats struct {
	ticketdefer.Stats

	Gathered  int // bytes of plaintext that Write has taken and that are not sealed so far; 0 after an error; see Options.WriteBehind
	Pending   int // bytes of ciphertext that are due and that the transport has not taken
	ReadAhead int // bytes of ciphertext that have arrived and that nobody has read

	OwnRecords OwnRecords // whether Options.OwnRecords is in effect
}

// Stats returns the engine's counters. It may be called at any time.
func (e *Engine) Stats() Stats {
	return Stats{
		Stats:      e.wire.gate.Stats(),
		Pending:    e.Pending(),
		ReadAhead:  e.wire.buffered(),
		OwnRecords: OwnRecords(e.ownState.Load()),
	}
}
