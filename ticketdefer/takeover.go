package ticketdefer

import (
	"bytes"
	"errors"
	"net"
	"slices"
)

// Taking over.
//
// When the handshake is complete, the TLS stack has done what only it can do. Who
// knows both traffic secrets can seal and open the records from then on, and leave
// the stack out. TakeOver ends the stack's part in the gate's direction:
//
//	before   stack ─► Filter ─► held, due
//	after    stack ─► Filter ─► nothing
//	         SealDataLocked, EndSealedLocked, OweKeyUpdate, Release, Abort ─► due
//
// The danger is a nonce that is used twice. The gate's own records begin at sequence
// number zero, which the stack has used as well, for the ticket of a server. So
// TakeOver opens what is held and forgets the records: they have never left. And
// whatever the stack seals afterwards, Filter drops. Should a record of the
// application epoch have passed, there is no taking over.
//
// What is held is then plaintext: a ticket, and one flag for a KeyUpdate that is owed
// however often the peer has asked (RFC 8446 4.6.3). It is sealed when it is released, and
// until then costs no sequence number: a Close that sends nothing drops it for nothing.

// updateAfter is how many records are sealed under one key before a KeyUpdate of this
// side's own. RFC 8446 5.5 allows AES-GCM 2^24.5 records of full size; this is the
// power of two below. ChaCha20-Poly1305 needs no limit, and a KeyUpdate every 256 GiB
// costs it nothing.
const updateAfter = 1 << 24

// As crypto/tls, the first records of a connection are short, so that the peer can use
// what has come in each TCP segment: maxPayloadSizeForWrite in crypto/tls/conn.go.
const (
	segmentEstimate = 1208      // of a TCP segment's payload over IPv6, in bytes
	growingBytes    = 128 << 10 // sent by then, records are of full size
)

// ErrNoTakeOver is returned by TakeOver where the stack must go on by itself: a secret
// is missing, or it has sent a record of the application epoch already.
var ErrNoTakeOver = errors.New("ticketdefer: the records of this connection cannot be taken over")

// TakeOverOptions say how records are sealed. The zero value works.
type TakeOverOptions struct {
	// UpdateAfter is how many records are sealed under one key before a
	// KeyUpdate. If zero, 2^24 (RFC 8446 5.5).
	UpdateAfter uint64

	// FullRecords makes the first records as long as all others, as
	// tls.Config.DynamicRecordSizingDisabled does.
	FullRecords bool
}

// A sealer is what a gate has of its own once it has taken over. Its keys are
// Gate.inner. It is guarded by Gate.mu.
type sealer struct {
	err      error  // why nothing can be sealed any more; final
	messages []byte // what the stack wrote behind its handshake: a ticket
	owed     bool   // a KeyUpdate, before the next application data

	heldBytes int // of the records that messages and owed will be

	updateAfter uint64
	growing     int // records of application data so far while they grow; -1 afterwards
	sent        int // bytes of them
}

// KeepInbound makes the gate keep the other direction's traffic secret for TakeOver,
// from the key log. It is called before the handshake.
func (g *Gate) KeepInbound() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wantsInbound = true
}

func (g *Gate) keepInbound(secret []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wantsInbound && (g.phase == phaseHandshake || g.phase == phaseEpoch) {
		clear(g.inbound)
		g.inbound = bytes.Clone(secret)
	}
}

func (g *Gate) wipeInbound() {
	clear(g.inbound)
	g.inbound = nil
}

// TakeOver ends the TLS stack's part in this direction: Filter discards what it writes
// from now on, and SealDataLocked and EndSealedLocked take its place. The handshake must be complete,
// KeepInbound must have been called before it, and the stack must have read none of
// the peer's records of the application epoch. It returns an epoch that opens these. After an
// error, which is ErrNoTakeOver or that of an unknown cipher suite, nothing has
// changed.
func (g *Gate) TakeOver(cipherSuite uint16, o TakeOverOptions) (inbound *Epoch, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inbound == nil || len(g.frames.partial) > 0 {
		return nil, ErrNoTakeOver
	}
	inbound, err = NewEpoch(cipherSuite, g.inbound)
	if err != nil {
		return nil, err
	}
	e, messages := g.unused(cipherSuite)
	if e == nil {
		inbound.Wipe()
		return nil, ErrNoTakeOver
	}
	g.own = &sealer{messages: messages, heldBytes: len(g.held), updateAfter: o.UpdateAfter}
	if g.own.updateAfter == 0 {
		g.own.updateAfter = updateAfter
	}
	if o.FullRecords {
		g.own.growing = -1
	}
	g.phase = phaseOwned
	g.inner, g.held = e, nil
	g.wipeCandidates()
	g.wipeInbound()
	g.setDeferral(DeferralOn)
	return inbound, nil
}

// unused returns the epoch that this direction's records are sealed in, if none of them has
// left, at sequence number zero; and what the TLS stack has written in it.
func (g *Gate) unused(cipherSuite uint16) (e *Epoch, messages []byte) {
	switch g.phase {
	case phaseHandshake:
		if len(g.held) > 0 || len(g.candidates) != 1 {
			return nil, nil
		}
		c := g.candidates[0]
		i := slices.IndexFunc(c.open(cipherSuite), func(e *Epoch) bool { return e.suite.id == cipherSuite })
		if i < 0 {
			return nil, nil
		}
		e = c.epochs[i]
		c.epochs = slices.Delete(c.epochs, i, i+1) // or it would be wiped with the candidate
		return e, nil
	case phaseEpoch:
		e = g.inner
		if e.wake() != nil || e.suite.id != cipherSuite || g.wire != nil || g.heldUpdates > 0 || e.seq != uint64(g.heldRecords) {
			return nil, nil
		}
		e.seq = 0
		messages, err := e.openMessages(g.held)
		if err != nil {
			e.seq = uint64(g.heldRecords)
			return nil, nil
		}
		e.seq = 0
		return e, messages
	}
	return nil, nil
}

// openMessages opens records that carry handshake messages.
func (e *Epoch) openMessages(records []byte) (messages []byte, err error) {
	for len(records) > 0 {
		n, err := checkHeader(records)
		if err != nil || n > len(records) {
			return nil, errNotRecords
		}
		contentType, content, err := e.Open(nil, records[:n])
		if err != nil || contentType != recordHandshake {
			return nil, errOpen
		}
		messages = append(messages, content...)
		records = records[n:]
	}
	return messages, nil
}

// SealDataLocked appends to dst one record that carries the beginning of p, behind what
// is held, and behind a KeyUpdate if the key is worn out. It returns the longer dst and how many
// bytes of p were sealed. It allocates nothing if dst has room. The error is ErrEnded
// after Abort, or that of EndSealedLocked; then nothing was sealed.
//
// The caller has locked the gate, and sends what it gets in the order of its calls.
func (g *Gate) SealDataLocked(dst, p []byte) (records []byte, n int, err error) {
	s := g.own
	if s.err != nil {
		return dst, 0, s.err
	}
	if g.heldRecords > 0 {
		g.cause = ReleaseData
		dst = g.sealHeld(dst)
	}
	if g.inner.seq >= s.updateAfter {
		dst = g.sealKeyUpdate(dst)
	}
	if s.err != nil {
		return dst, 0, s.err
	}
	n = min(len(p), s.nextPayload())
	return g.inner.Seal(dst, recordApplicationData, p[:n]), n, nil
}

// nextPayload is how much application data goes into the next record.
func (s *sealer) nextPayload() int {
	if s.growing < 0 {
		return maxPlaintext
	}
	s.growing++
	k := min(s.growing*(segmentEstimate-sealedOverhead), maxPlaintext)
	if s.sent += k; s.sent >= growingBytes {
		s.growing = -1
	}
	return k
}

// sealKeyUpdate appends a KeyUpdate that requests none, and moves to the keys
// behind it (RFC 8446 4.6.3).
func (g *Gate) sealKeyUpdate(dst []byte) []byte {
	dst = g.inner.Seal(dst, recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0})
	if err := g.inner.Update(); err != nil && g.own.err == nil {
		g.own.err = err
	}
	return dst
}

// OweKeyUpdate notes that the peer has asked for a KeyUpdate. One is sealed before the
// next application data, however often it has asked.
func (g *Gate) OweKeyUpdate() {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.own
	if s.err != nil {
		return // no application data will follow
	}
	g.stats.KeyUpdates++
	g.noteKeyUpdate(KeyUpdateSeen, 1)
	if s.owed {
		g.stats.CollapsedKeyUpdates++
		g.noteKeyUpdate(KeyUpdateCollapsed, 1)
		return
	}
	s.owed = true
	s.heldBytes += keyUpdateRecordLen
	g.heldRecords++
	g.note(Event{
		Kind: EventHeld, Records: 1, Bytes: keyUpdateRecordLen, KeyUpdate: true,
		TotalRecords: g.heldRecords, TotalBytes: s.heldBytes,
	})
}

// EndSealedLocked returns what is held, message unless it is nil, and an alert, behind
// which nothing is ever sealed: SealDataLocked then returns err. If the direction has
// ended before, it returns nil.
//
// What is held goes along with close_notify too, although it has cost nothing yet: a
// client that waits for the server's end keeps the ticket, and to one that does not read
// close_notify is unread data as well.
//
// It is for callers as those of SealDataLocked.
func (g *Gate) EndSealedLocked(description uint8, message []byte, err error) (records []byte) {
	if g.own.err != nil {
		return nil
	}
	g.cause = ReleaseAlert
	records = g.sealHeld(nil)
	if message != nil {
		records = g.inner.Seal(records, recordHandshake, message)
	}
	content := []byte{alertLevelFatal, description}
	if description == alertCloseNotify {
		content[0] = alertLevelWarning
	}
	records = g.inner.Seal(records, recordAlert, content)
	g.noteAlert(content)
	g.noteSaid()
	g.own.err = err
	return records
}

func (g *Gate) abortOwned(description uint8, message []byte) ([][]byte, error) {
	if g.own.err != nil {
		return nil, ErrEnded
	}
	return [][]byte{g.EndSealedLocked(description, message, ErrEnded)}, nil
}

// sealHeld appends everything held.
func (g *Gate) sealHeld(dst []byte) []byte {
	s := g.own
	if g.heldRecords == 0 || s.err != nil {
		return dst
	}
	g.stats.ReleasedRecords += int64(g.heldRecords)
	g.stats.ReleasedBytes += int64(s.heldBytes)
	g.note(Event{Kind: EventReleased, Records: g.heldRecords, Bytes: s.heldBytes, Cause: g.cause})
	for rest := s.messages; len(rest) > 0; {
		n := min(len(rest), maxPlaintext) // where the stack cut it, too
		dst = g.inner.Seal(dst, recordHandshake, rest[:n])
		rest = rest[n:]
	}
	if s.owed {
		dst = g.sealKeyUpdate(dst)
		g.noteKeyUpdate(KeyUpdateAnswered, 1)
	}
	s.forget()
	g.heldRecords = 0
	return dst
}

func (s *sealer) forget() {
	clear(s.messages)
	s.messages, s.owed, s.heldBytes = nil, false, 0
}

func (s *sealer) wipe() {
	if s == nil {
		return
	}
	s.forget()
	if s.err == nil {
		s.err = net.ErrClosed
	}
}
