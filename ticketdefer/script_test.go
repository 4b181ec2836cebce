package ticketdefer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A stack is a scripted TLS stack: it seals what a test says, as any TLS 1.3
// stack may, and writes it through a gate to a listener, the peer.
type stack struct {
	t      testing.TB
	gate   *Gate
	hs     *Epoch // before Finished
	app    *Epoch // after it
	peer   *listenerPeer
	ledger *ledger
	wrote  []opened // what the peer is to receive: whole messages, data, alerts

	pending   []byte // sealed, not yet given to the gate
	mustHold  bool   // pending is nothing but what must wait
	coalesce  bool   // several records in one Write
	updates   int    // KeyUpdates written
	streaming bool   // application data was written
	late      bool   // something was written that gates let pass once data has flowed
	closed    bool
	maxHeld   int
}

// newStack returns a stack whose gate has its traffic secret.
func newStack(t testing.TB, gate *Gate, s *suite) *stack {
	t.Helper()
	hs, peerHS := epochPair(t, s, 0xaa)
	app, peerApp := epochPair(t, s, 0xbb)
	ledger := newLedger(t, gate)
	gate.AddSecret(app.secret)
	return &stack{t: t, gate: gate, ledger: ledger, hs: hs, app: app, peer: &listenerPeer{epochs: []*Epoch{peerHS, peerApp}}}
}

// handshake writes a flight as a server does: ServerHello, change_cipher_spec,
// and messages under handshake keys. It is all due at once.
func (s *stack) handshake() {
	flight := []byte{recordHandshake, 3, 3, 0, 4, 2, 0, 0, 0}
	flight = append(flight, recordChangeCipherSpec, 3, 3, 0, 1, 1)
	for _, n := range []int{6, 900, 80, 36} {
		flight = s.hs.Seal(flight, recordHandshake, message(8, n))
	}
	s.write(flight, false)
	if diff := cmp.Diff(flight, s.peer.raw); diff != "" {
		s.t.Fatalf("the handshake flight did not pass as it was: %s", diff)
	}
}

// message is a handshake message with n bytes of body.
func message(messageType byte, n int) []byte {
	return append([]byte{messageType, byte(n >> 16), byte(n >> 8), byte(n)}, randomBytes(uint64(n), n)...)
}

// ticket writes one NewSessionTicket in records of at most cut bytes, each
// padded by pad bytes.
func (s *stack) ticket(size, cut, pad int) { s.handshakeMessages([][]byte{message(4, size)}, cut, pad) }

func (s *stack) handshakeMessages(messages [][]byte, cut, pad int) {
	for _, m := range messages {
		s.note(opened{recordHandshake, string(m)})
	}
	s.late = s.late || s.streaming
	content := slices.Concat(messages...)
	for part := range slices.Chunk(content, max(1, min(cut, maxPlaintext-pad))) {
		s.emit(sealPadded(s.app, nil, recordHandshake, part, pad), true)
	}
}

// update writes a KeyUpdate that answers one.
func (s *stack) update(pad int) {
	s.late = s.late || s.streaming && pad > 0
	record := sealPadded(s.app, nil, recordHandshake, keyUpdate, pad)
	if err := s.app.Update(); err != nil {
		s.t.Fatal(err)
	}
	s.updates++
	s.emit(record, true)
}

func (s *stack) data(content []byte, pad int) {
	s.note(opened{recordApplicationData, string(content)})
	s.streaming = true
	s.emit(sealPadded(s.app, nil, recordApplicationData, content, pad), false)
}

func (s *stack) alert(description byte) {
	s.note(opened{recordAlert, string([]byte{1, description})})
	s.emit(s.app.Seal(nil, recordAlert, []byte{1, description}), false)
	s.closed = s.closed || description == alertCloseNotify
}

func (s *stack) note(o opened) {
	if !s.closed { // nothing may follow close_notify
		s.wrote = append(s.wrote, o)
	}
}

func (s *stack) emit(record []byte, mustHold bool) {
	s.mustHold = mustHold && (s.mustHold || len(s.pending) == 0)
	s.pending = append(s.pending, record...)
	if !s.coalesce || len(s.pending) > 64<<10 {
		s.flush()
	}
}

// flush gives the gate what was sealed.
func (s *stack) flush() {
	if len(s.pending) == 0 {
		return
	}
	p, mustHold := s.pending, s.mustHold
	s.pending, s.mustHold = nil, false
	s.write(p, mustHold)
}

func (s *stack) write(p []byte, mustHold bool) {
	s.t.Helper()
	forced := s.gate.Stats().ForcedReleases
	due, err := s.gate.Filter(nil, bytes.Clone(p))
	if err != nil {
		s.t.Fatalf("Filter: %v", err)
	}
	s.receive(due)
	now := s.gate.Stats()
	if len(due) > 0 && mustHold && !s.late && now.ForcedReleases == forced {
		s.t.Fatalf("%d bytes are due that nobody asked for, and no bound was reached", len(slices.Concat(due...)))
	}
	s.maxHeld = max(s.maxHeld, now.HeldBytes)
	if now.HeldBytes > maxHeldBytes {
		s.t.Fatalf("%d bytes held, more than %d", now.HeldBytes, maxHeldBytes)
	}
}

// release is FlushTickets.
func (s *stack) release() {
	s.flush()
	s.receive(s.gate.Release())
	if n := s.gate.Stats().HeldBytes; n != 0 {
		s.t.Fatalf("%d bytes held after Release", n)
	}
}

func (s *stack) receive(due [][]byte) {
	s.t.Helper()
	s.ledger.observer.Deliver()
	// Without the gate a stack may well write behind its close_notify.
	s.peer.stopAtEnd = s.gate.Stats().Deferral != DeferralOn
	for _, p := range due {
		if err := s.peer.receive(p); err != nil {
			s.t.Fatalf("after %d KeyUpdates written and %d received: %v", s.updates, s.peer.updates, err)
		}
	}
}

// check releases everything, and compares what the peer got with what was written.
func (s *stack) check() {
	s.t.Helper()
	s.release()
	if diff := cmp.Diff(s.wrote, s.peer.got); diff != "" {
		s.t.Fatalf("what the peer got, -want +got:\n%.4000s", diff)
	}
	if s.peer.updates > s.updates {
		s.t.Fatalf("the peer got %d KeyUpdates, %d were written", s.peer.updates, s.updates)
	}
	if len(s.peer.unread) > 0 || len(s.peer.message) > 0 {
		s.t.Fatalf("the peer has %d bytes of a record and %d of a message left over", len(s.peer.unread), len(s.peer.message))
	}
	if s.gate.observer == s.ledger.observer { // some tests take a gate of their own
		s.ledger.check(s.t, s.gate)
		if !s.late && s.gate.Stats().Deferral == DeferralOn {
			mustEqual(s.t, "answers to KeyUpdate, of the peer and of the events", s.peer.updates, s.ledger.answered)
		}
	}
}

// deferral fails unless the gate still knows what it is doing.
func (s *stack) deferral(want Deferral) {
	s.t.Helper()
	mustEqual(s.t, "deferral", want.String(), s.gate.Stats().Deferral.String())
}

// A listenerPeer receives what came due. It shares no code with the gate but
// Epoch: it opens each record under the keys it is in, in sequence, as a peer
// must, so a record twice, none, or one under other keys is an error.
type listenerPeer struct {
	epochs  []*Epoch // handshake, application; the first in use is epochs[0]
	raw     []byte   // all that came
	unread  []byte   // of an unfinished record
	message []byte   // of an unfinished handshake message
	got     []opened
	updates int

	ended     bool // close_notify came
	stopAtEnd bool // ignore what comes behind it
}

var errAfterClose = errors.New("a record after close_notify")

func (p *listenerPeer) receive(b []byte) error {
	p.raw = append(p.raw, b...)
	p.unread = append(p.unread, b...)
	for len(p.unread) >= 5 {
		n := 5 + int(p.unread[3])<<8 + int(p.unread[4])
		if len(p.unread) < n {
			break
		}
		record := p.unread[:n]
		p.unread = p.unread[n:]
		if record[0] != recordApplicationData {
			continue // ServerHello and change_cipher_spec
		}
		if p.ended && p.stopAtEnd {
			continue
		}
		if p.ended {
			return errAfterClose
		}
		if err := p.open(record); err != nil {
			return err
		}
	}
	p.unread = bytes.Clone(p.unread)
	return nil
}

func (p *listenerPeer) open(record []byte) error {
	for i, e := range p.epochs {
		contentType, content, err := e.Open(nil, record)
		if err != nil {
			continue
		}
		p.epochs = p.epochs[i:]
		if len(p.epochs) > 1 {
			return nil // still the handshake
		}
		return p.take(contentType, content)
	}
	return fmt.Errorf("record of %d bytes: %w", len(record), errOpen)
}

func (p *listenerPeer) take(contentType byte, content []byte) error {
	if contentType != recordHandshake {
		if len(p.message) > 0 {
			return errors.New("another record within a handshake message")
		}
		p.got = append(p.got, opened{contentType, string(content)})
		p.ended = contentType == recordAlert && content[1] == alertCloseNotify
		return nil
	}
	p.message = append(p.message, content...)
	for len(p.message) >= 4 {
		n := 4 + int(p.message[1])<<16 + int(p.message[2])<<8 + int(p.message[3])
		if len(p.message) < n {
			break
		}
		m := p.message[:n]
		p.message = p.message[n:]
		if m[0] != messageKeyUpdate {
			p.got = append(p.got, opened{recordHandshake, string(m)})
			continue
		}
		if len(p.message) > 0 {
			return errors.New("bytes behind a KeyUpdate in its record")
		}
		p.updates++
		if err := p.epochs[0].Update(); err != nil {
			return err
		}
	}
	return nil
}
