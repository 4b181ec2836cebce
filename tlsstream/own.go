package tlsstream

import (
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"io"
	"sync/atomic"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
)

// Theory of operation of Options.OwnRecords.
//
// crypto/tls runs the handshake: certificates, verification, resumption, tickets. When
// it is complete, the Engine takes the records of both directions over:
//
//	Write ─► gate seals, into the due queue                     ─► due
//	Read  ─► ownReader opens, into the caller's memory          ◄─ transport
//	         *tls.Conn: dropped, or kept by a client for tickets   no way out
//
// Everything above, which is all of Conn, stays as it is: it asks the Engine, and the
// Engine asks whether own is set. What is taken over, and how it stays in step:
//
//   - The keys. The key log shows both directions' first traffic secrets; crypto/tls says
//     which suite they are for. Nobody has written or read a record under them yet, or the
//     record is the ticket that the gate holds: see ticketdefer.Gate.TakeOver, which also
//     says why no nonce is used twice.
//   - The place in the stream. ownConn hands crypto/tls no byte past the record that it
//     reads, and crypto/tls insists that nothing is left of a record when keys change, so
//     behind the handshake all of its buffers are empty, and what comes next is ours.
//   - The rules of the record layer, and the alerts for those who break them: ownReader.
//   - The KeyUpdate that a peer asks for: a flag, not a record. Of our own there is one
//     before a key is worn out (RFC 8446 5.5).
//   - Tickets that a client receives: ticketTaker.
//
// TLS 1.2, a suite that ticketdefer does not know and FIPS 140-3 mode, in which sealing with
// nonces of our own is not approved, stay with crypto/tls: Stats.OwnRecords says so.
//
// Locks: ownReader.mu, then the gate's, which is the due queue's. None but the first is held
// across transport I/O, and nothing that writes takes that one.

// OwnRecords tells whether a stream's records are sealed and opened by this package
// itself, as Options.OwnRecords asks, and if not, why not.
type OwnRecords uint8

const (
	OwnRecordsOff      OwnRecords = iota // Options.OwnRecords is not set
	OwnRecordsWaiting                    // the handshake is not complete
	OwnRecordsOn                         // they are
	OwnRecordsTLS12                      // TLS 1.2 or older
	OwnRecordsFIPS                       // FIPS 140-3 mode, in which only crypto/tls may seal
	OwnRecordsSuite                      // a cipher suite that is not known here
	OwnRecordsNoSecret                   // the traffic secrets did not come, or were in use already
)

func (o OwnRecords) String() string {
	switch o {
	case OwnRecordsOff:
		return "off"
	case OwnRecordsWaiting:
		return "waiting for the handshake"
	case OwnRecordsOn:
		return "on"
	case OwnRecordsTLS12:
		return "off: TLS 1.2 or older"
	case OwnRecordsFIPS:
		return "off: FIPS 140-3 mode"
	case OwnRecordsSuite:
		return "off: unknown cipher suite"
	case OwnRecordsNoSecret:
		return "off: no traffic secrets"
	}
	return "unknown"
}

// ownByDefault is set by tests before they begin.
var ownByDefault bool

// ownRecords is what an Engine has in the place of its *tls.Conn.
type ownRecords struct {
	reader ownReader
	state  tls.ConnectionState
	writes atomic.Int32 // calls of Engine.Write in progress
}

// ownSetup is what an Engine with Options.OwnRecords needs to know of its handshake.
type ownSetup struct {
	under ownConn
	// Of the Config in use.
	fullRecords bool
	wantTickets bool
}

// wireOwn prepares config, which is this engine's own, for the takeover, and returns the
// net.Conn for crypto/tls.
func (e *Engine) wireOwn(config *tls.Config) *ownConn {
	e.wire.gate.KeepInbound()
	s := &ownSetup{
		fullRecords: config.DynamicRecordSizingDisabled,
		wantTickets: e.client && config.ClientSessionCache != nil && !config.SessionTicketsDisabled,
	}
	s.under.transport = &e.wire
	if get := config.GetConfigForClient; get != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := get(hello)
			if chosen != nil && err == nil {
				s.fullRecords = chosen.DynamicRecordSizingDisabled
			}
			return chosen, err
		}
	}
	e.setup = s
	e.ownState.Store(int32(OwnRecordsWaiting))
	return &s.under
}

// takeOver is called when the handshake is complete, before anybody can read or write.
func (e *Engine) takeOver(state tls.ConnectionState) {
	s := e.setup
	if s == nil {
		return
	}
	e.setup = nil
	why := e.tryTakeOver(s, state)
	if why != OwnRecordsOn {
		s.under.free.Store(true)
	}
	e.ownState.Store(int32(why))
}

func (e *Engine) tryTakeOver(s *ownSetup, state tls.ConnectionState) OwnRecords {
	switch {
	case state.Version != tls.VersionTLS13:
		return OwnRecordsTLS12
	case fips140.Enabled():
		return OwnRecordsFIPS
	}
	inbound, err := e.wire.gate.TakeOver(state.CipherSuite, ticketdefer.TakeOverOptions{
		UpdateAfter: e.options.updateAfter,
		FullRecords: s.fullRecords,
	})
	switch {
	case errors.Is(err, ticketdefer.ErrNoTakeOver):
		return OwnRecordsNoSecret
	case err != nil:
		return OwnRecordsSuite
	}
	s.under.taken.Store(true)
	e.own = &ownRecords{state: state}
	r := &e.own.reader
	r.wire, r.client, r.epoch = &e.wire, e.client, inbound
	if s.wantTickets {
		r.tickets = &ticketTaker{conn: e.tls.Load(), under: &s.under, epoch: inbound.Clone()}
	} else {
		e.tls.Store(nil)
	}
	return OwnRecordsOn
}

// What follows asks crypto/tls, or does in its place what it would do.

func (e *Engine) readRecords(p []byte) (int, error) {
	if e.own == nil {
		return e.tls.Load().Read(p)
	}
	return e.own.reader.read(p)
}

// sealRecords seals p, behind which more bytes of the same Write follow.
func (e *Engine) sealRecords(p []byte, more int) (int, error) {
	if e.own == nil {
		e.wire.toSeal = len(p) + more
		return e.tls.Load().Write(p)
	}
	return e.wire.sealOwn(p, more)
}

func (e *Engine) sealCloseNotify() error {
	if e.own == nil {
		e.wire.gate.ExpectCloseNotify()
		return e.tls.Load().CloseWrite()
	}
	e.wire.endSealed(AlertCloseNotify, errWriteClosed)
	return nil
}

// closeRecords makes close_notify due, unless a Write is in progress: its data would pass
// for whole.
func (e *Engine) closeRecords() error {
	if e.own == nil {
		return e.tls.Load().Close()
	}
	if e.own.writes.Load() == 0 {
		e.wire.endSealed(AlertCloseNotify, errWriteClosed)
	}
	return nil
}

func (e *Engine) state() tls.ConnectionState {
	if e.own == nil {
		return e.tls.Load().ConnectionState()
	}
	return e.own.state
}

// verifyHostname is as the method of tls.Conn, after the handshake.
func (e *Engine) verifyHostname(host string) error {
	if e.own == nil {
		return e.tls.Load().VerifyHostname(host)
	}
	state := &e.own.state
	switch {
	case !e.client:
		return errors.New("tlsstream: VerifyHostname called on the server's side")
	case len(state.VerifiedChains) == 0:
		return errors.New("tlsstream: the handshake did not verify the certificate chain")
	}
	return state.PeerCertificates[0].VerifyHostname(host)
}

// sealOwn seals p. Each record is offered to the kernel, if nothing is due before it; else it
// waits with that.
func (t *transport) sealOwn(p []byte, more int) (n int, err error) {
	b := rawBuffers.Get().(*rawBuffer)
	defer rawBuffers.Put(b)
	for n < len(p) {
		t.gate.Lock()
		records, k, err := t.gate.SealDataLocked(b[:0], p[n:])
		n += k
		now := t.socket != nil && t.socket.Gathers() && t.due.pending() == 0
		if !now {
			t.due.queueLocked(records)
		}
		t.gate.Unlock()
		if now && len(records) > 0 {
			sent, writeErr := t.socket.TryWrite(records, more > 0 || n < len(p))
			if sent < len(records) || writeErr != nil {
				t.due.putBack(records[sent:], writeErr)
			}
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readTo makes one Read into what l lends, when there is something to read if the transport
// is a socket.
func (t *transport) readTo(l membio.Lender) error {
	if t.loanSource == nil || !t.direct.Load() {
		n, err := t.Read(l.Lend())
		l.TakeBack(n)
		return err
	}
	_, err := t.loanSource(l)
	if err == io.EOF {
		t.fail(io.EOF)
		return t.readTo(l) // which says how
	}
	return err
}

// endSealed makes an alert due, behind which nothing is sealed: err says so to
// whoever tries.
func (t *transport) endSealed(a Alert, err error) {
	t.gate.Lock()
	defer t.gate.Unlock()
	t.due.queueLocked(t.gate.EndSealedLocked(uint8(a), nil, err))
}
