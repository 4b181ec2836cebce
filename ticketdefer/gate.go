package ticketdefer

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// Theory of operation.
//
// After ServerHello every TLS 1.3 record looks alike from outside, and its
// length proves nothing: a KeyUpdate is 27 bytes on the wire, and so are five
// bytes of application data. The gate therefore opens records with the
// connection's own traffic secret. It sits behind crypto/tls, sees every record
// that crypto/tls writes, in order and whole, and for each decides:
//
//	                    before the epoch      in the epoch
//	handshake message   due                   held
//	application data    -                     due, behind all that is held
//	alert               due                   due, behind all that is held
//	change_cipher_spec  held to the next      -
//
// "The epoch" is the application epoch. Its first record is the first that
// opens under *_TRAFFIC_SECRET_0 at sequence number zero: the AEAD makes that a
// proof. Records before it are sealed under handshake keys, and failing to open
// them is normal. crypto/tls sends a server's ticket in the same Write as the
// flight it follows, so the cut falls inside one Write.
//
// Three rules keep this safe.
//
// Order. A record's sequence number is spent when crypto/tls seals it, so held
// records leave before any later record, and none is ever dropped, with one
// exception: collapsed KeyUpdates.
//
// Collapse. RFC 8446 4.6.3 lets a side that was silent answer many
// update_requested with one update. A peer that keeps asking while the
// application does not write would make held bytes grow for ever, so past
// maxHeldKeyUpdates the gate keeps the first and drops the others. crypto/tls
// has by then changed its keys once for each, the peer will do so once. From
// there on the gate has two epochs: inner, in which crypto/tls seals, and
// wire, in which the peer opens; later records are opened under the first and
// sealed again under the second. A dropped KeyUpdate shared its nonce with a
// record that is sealed again later. It never reaches the wire, nor leaves this
// file: the nonce is used once where anybody can see it.
//
// When in doubt, pass. TLS 1.2, no secret, a record that does not open: the
// gate lets go of what it holds and passes everything, as if it were not there.
//
// change_cipher_spec carries nothing in TLS 1.3 and answers nothing in TLS 1.2,
// where it is always followed by Finished, so it may wait for the next record
// (RFC 8446 D.4). After a HelloRetryRequest crypto/tls writes it alone on both
// sides at once, and over a transport without buffers both would block.

const (
	// maxHeldKeyUpdates is how many KeyUpdate answers are held one by one
	// before they collapse. A peer that asks now and then costs no second
	// sealing; four answers are below any peer's limit of updates in a row.
	maxHeldKeyUpdates = 4

	// maxHeldBytes bounds held records. One ticket is 65,535 bytes at most and
	// crypto/tls sends one; other stacks send two.
	maxHeldBytes = 160 << 10

	// maxTrials is how many records may fail to open before the gate stops
	// trying. It covers the longest flight that crypto/tls accepts: a
	// Certificate message of 256 KiB and the messages around it.
	maxTrials = 64

	// maxCandidates bounds the secrets kept for a client_random that other
	// connections use too, because their peers replay it.
	maxCandidates = 8
)

// phase is where in its life the gate is.
type phase uint8

const (
	phaseHandshake phase = iota // records pass; looking for the application epoch
	phaseEpoch                  // in the epoch; no application data yet; every record is opened
	phaseStream                 // application data has passed; only records of telling length are opened
	phaseClosed                 // close_notify has passed; KeyUpdates are accepted and discarded
	phaseOff                    // everything passes
	phaseWiped                  // nothing passes: what was held is gone, so nothing later would open
	phaseOwned                  // nothing of the TLS stack's passes: see TakeOver
)

// errOutOfStep ends a connection whose records cannot be sealed again: it takes
// a TLS stack that changes keys without a KeyUpdate.
var errOutOfStep = errors.New("ticketdefer: record does not open after collapsed key updates")

// A Gate decides which records of one direction of one TLS connection are due
// and which wait for the application's next write. It does no I/O.
//
// Its methods may be called concurrently. What Filter and Release return must
// reach the transport in the order of the calls, so callers hold a lock of
// their own across the call and the write. No lock of the gate is held while a
// caller does I/O.
type Gate struct {
	client   bool
	observer *Observer    // set before the first call of another method
	alerts   atomic.Int64 // see Alerts
	over     atomic.Bool  // see Closed

	// mu guards the rest. It nests inside every other lock, and nothing is
	// called while it is held: crypto/tls writes its key log under a
	// process-wide mutex.
	mu         sync.Mutex
	phase      phase
	frames     framer
	messages   messageScanner
	candidates []*candidate
	awaitsWord bool // see AwaitEstablished
	trials     int
	aborted    bool // see Abort
	fatal      byte // description of the fatal alert that has passed; zero if none has

	// What Abort needs before the epoch is found.
	suite           uint16
	changed         bool   // change_cipher_spec was written
	handshakeSecret []byte // a client's *_HANDSHAKE_TRAFFIC_SECRET

	// What TakeOver needs.
	wantsInbound bool
	inbound      []byte // the other direction's *_TRAFFIC_SECRET_0

	inner *Epoch // crypto/tls seals in it; nil before the epoch
	wire  *Epoch // the peer opens in it; nil while it is the same as inner

	held        []byte // whole records, in order
	heldRecords int
	// The next four describe the KeyUpdates in held.
	heldUpdates    int
	firstUpdateEnd int    // offset in held
	afterFirst     *Epoch // the epoch that the first one begins; nil without one, or once wire is set
	mixed          bool   // something else is held behind the first one

	data   bool         // see SawDataLocked
	closes bool         // see ExpectCloseNotify
	sealed []byte       // the record of an actReseal, between judge and Filter
	update bool         // the record that judge looks at is a KeyUpdate
	cause  ReleaseCause // why that record takes along what is held
	own    *sealer      // set in phaseOwned
	said   *Event       // what that record is, if it is an alert: to be noted behind what it takes along
	stats  Stats
	lent   *openBuffer // see scratch
}

// NewServerGate returns a gate for what a TLS server writes.
func NewServerGate() *Gate { return &Gate{} }

// NewClientGate returns a gate for what a TLS client writes.
func NewClientGate() *Gate { return &Gate{client: true} }

// Lock locks the gate for PassLocked and the other methods whose names end so: a
// caller that queues what they return keeps its queue in their order by this lock,
// and takes no other. Nothing is called, and no I/O done, while it is held.
func (g *Gate) Lock() { g.mu.Lock() }

// Unlock unlocks the gate.
func (g *Gate) Unlock() { g.mu.Unlock() }

// PassLocked reports whether p is a record of application data that is due as it
// is, with nothing before it, and moves the gate past it. If not, nothing has
// happened, and p is for FilterLocked: it is the steady state's short cut.
func (g *Gate) PassLocked(p []byte) bool {
	if g.phase != phaseStream || g.wire != nil || len(g.held) > 0 || len(g.frames.partial) > 0 {
		return false
	}
	if len(p) == keyUpdateRecordLen || len(p) == alertRecordLen || !isSealedRecord(p) {
		return false
	}
	g.inner.seq++
	return true
}

// SawDataLocked reports whether the last record of FilterLocked's was opened, and
// carried application data: then it is the application's Write that wrote it.
func (g *Gate) SawDataLocked() bool { return g.data }

// ExpectCloseNotify says that the TLS stack has written its last application data, and
// that its next alert is close_notify: that record need not be opened, for which a key
// would be made ready that nobody needs any more. (If a Read's fatal alert comes first,
// it is taken for close_notify, behind which nothing is sent either.)
func (g *Gate) ExpectCloseNotify() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closes = true
}

// pass is PassLocked for a caller that has no other use for the lock.
func (g *Gate) pass(p []byte) bool {
	g.mu.Lock()
	passed := g.PassLocked(p)
	g.mu.Unlock()
	return passed
}

// Filter takes the next bytes that the TLS stack wrote, appends to due what the
// transport is due now, and returns it. Slices of due alias p or are the
// caller's to keep. Everything of p is accepted: what is not due is held, or
// is the beginning of a record. After an error nothing more can be sent.
func (g *Gate) Filter(due [][]byte, p []byte) ([][]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.PassLocked(p) {
		return append(due, p), nil
	}
	return g.FilterLocked(due, p)
}

// FilterLocked is Filter for a caller that has locked the gate.
func (g *Gate) FilterLocked(due [][]byte, p []byte) ([][]byte, error) {
	g.data = false // or a Read's KeyUpdate would pass for data once nothing is judged any more
	switch g.phase {
	case phaseWiped:
		return due, net.ErrClosed
	case phaseOwned:
		return due, nil
	}

	// p[start:pos] are records that pass untouched and adjoin.
	start, pos := 0, 0
	pass := func(next int) {
		if pos > start {
			due = append(due, p[start:pos])
		}
		start, pos = next, next
	}
	for pos < len(p) && g.phase != phaseOff {
		whole := len(g.frames.partial) == 0
		record, rest, err := g.frames.next(p[pos:])
		end := len(p) - len(rest)
		if err != nil {
			g.turnOff(DeferralNotRecords)
		}
		if record == nil {
			pass(end)
			break
		}
		act, err := g.judge(record)
		g.giveBack(len(record))
		if err != nil {
			return due, err
		}
		if act == actPass && whole && len(g.held) == 0 {
			if g.said != nil {
				g.noteSaid()
			}
			pos = end
			continue
		}
		pass(end)
		switch act {
		case actPass:
			due = append(g.release(due), record)
		case actReseal:
			due = g.release(due)
			due = append(due, g.sealed)
			g.sealed = nil
		case actHold:
			if len(g.held)+len(record) > maxHeldBytes {
				g.forceRelease()
				due = append(g.release(due), record)
				break
			}
			if record[0] == recordApplicationData {
				// The other records of a ticket follow in the same
				// Write: appending each would take an eighth more.
				g.held = slices.Grow(g.held, min(len(record)+len(rest), maxHeldBytes-len(g.held)))
			}
			g.hold(record)
		case actDiscard:
		}
		if g.said != nil {
			g.noteSaid()
		}
	}
	pass(pos)
	if g.phase == phaseOff {
		due = g.release(due)
		if partial := g.frames.unread(); len(partial) > 0 {
			due = append(due, partial)
		}
		if pos < len(p) {
			if p[pos] == recordAlert { // no TLS before 1.3 hides the type
				g.noteAlert(p[min(len(p), pos+recordHeaderLen):])
				g.noteSaid()
			}
			due = append(due, p[pos:])
		}
	}
	return due, nil
}

// An action is what becomes of one record.
type action uint8

const (
	actPass    action = iota // due, behind all that is held
	actReseal                // the same, as g.sealed
	actHold                  // held
	actDiscard               // neither: its work is done
)

// judge decides over one record and moves the gate's state past it.
func (g *Gate) judge(record []byte) (action, error) {
	g.update, g.data, g.cause = false, false, ReleaseData
	switch g.phase {
	case phaseHandshake:
		switch record[0] {
		case recordChangeCipherSpec:
			g.changed = true
			return actHold, nil
		case recordAlert:
			g.noteAlert(record[recordHeaderLen:])
		case recordHandshake:
			g.noteHello(record) // a server's own
		case recordApplicationData:
			if g.client && len(record) == alertRecordLen {
				g.noteHandshakeAlert(record)
			}
		}
		contentType, content, ok := g.openFirst(record)
		if !ok {
			return actPass, nil
		}
		return g.judgeContent(record, contentType, content)
	case phaseClosed:
		if g.aborted {
			return actDiscard, nil
		}
	case phaseStream:
		// Only a KeyUpdate or an alert changes anything, and their lengths
		// are known; others need no opening unless they are sealed again.
		if g.wire == nil && len(record) != keyUpdateRecordLen && len(record) != alertRecordLen {
			g.inner.seq++
			return actPass, nil
		}
		if g.wire == nil && g.closes && len(record) == alertRecordLen {
			g.inner.seq++
			return g.judgeContent(record, recordAlert, []byte{alertLevelWarning, alertCloseNotify})
		}
	}
	contentType, content, err := g.inner.Open(g.scratch(), record)
	if err != nil {
		if g.wire != nil {
			return actPass, errOutOfStep
		}
		g.turnOff(DeferralUnopened)
		return actPass, nil
	}
	return g.judgeContent(record, contentType, content)
}

// judgeContent is judge for a record of the epoch. Exactly one of the following
// happens: it passes, it is held, it is discarded.
func (g *Gate) judgeContent(record []byte, contentType byte, content []byte) (action, error) {
	if contentType == recordHandshake {
		if keyUpdate, request := g.messages.scan(content); keyUpdate {
			return g.judgeKeyUpdate(record, content, request)
		}
	}
	if g.phase == phaseClosed {
		return actDiscard, nil // nothing may follow close_notify (RFC 8446 6.1)
	}
	if contentType == recordHandshake {
		if g.wire == nil {
			g.mixed = g.heldUpdates > 0
			return actHold, nil
		}
		if len(g.held)+len(record) <= maxHeldBytes {
			g.hold(g.wire.Seal(nil, contentType, content))
			return actDiscard, nil
		}
		g.forceRelease()
	}
	if contentType == recordApplicationData {
		if g.phase == phaseEpoch {
			g.inner.rest()
		}
		g.phase, g.data = phaseStream, true
	}
	if contentType == recordAlert {
		g.cause = ReleaseAlert
		if g.noteAlert(content) == alertCloseNotify {
			g.close()
		}
	}
	if g.wire == nil {
		return actPass, nil
	}
	g.sealed = g.wire.Seal(nil, contentType, content)
	return actReseal, nil
}

// judgeKeyUpdate decides over a KeyUpdate, and follows crypto/tls into its next
// keys. A KeyUpdate that itself requests one is the application's doing, and
// passes.
func (g *Gate) judgeKeyUpdate(record, content []byte, request byte) (action, error) {
	g.stats.KeyUpdates++
	g.update = true
	g.noteKeyUpdate(KeyUpdateSeen, 1)
	act := actHold
	switch {
	case g.phase == phaseClosed:
		act = actDiscard
	case request != 0:
		act = actPass
		if g.wire != nil {
			act = actReseal
		}
	case g.heldUpdates == 0 || g.wire == nil && g.heldUpdates < maxHeldKeyUpdates:
	case g.wire == nil && g.mixed:
		// What is held behind the first update is sealed in the epochs in
		// between, which can then not be skipped.
		g.forceRelease()
		act = actPass
	default:
		if g.wire == nil {
			g.collapse()
		}
		g.stats.CollapsedKeyUpdates++
		g.noteKeyUpdate(KeyUpdateCollapsed, 1)
		act = actDiscard
	}

	if g.wire != nil && act != actDiscard {
		g.sealed = g.wire.Seal(nil, recordHandshake, content)
		if err := g.wire.Update(); err != nil {
			return actPass, err
		}
		switch {
		case act == actHold && len(g.held)+len(g.sealed) > maxHeldBytes:
			g.forceRelease()
			act = actReseal
		case act == actHold:
			g.hold(g.sealed)
			g.heldUpdates = 1
			act, g.sealed = actDiscard, nil
		}
	}
	if err := g.inner.Update(); err != nil {
		return actPass, err
	}
	if act == actPass || act == actReseal {
		g.noteKeyUpdate(KeyUpdateAnswered, 1)
	}
	if g.wire == nil && act == actHold {
		g.heldUpdates++
		if g.heldUpdates == 1 {
			// Filter appends the record to what is held now.
			g.firstUpdateEnd = len(g.held) + len(record)
			g.afterFirst = g.inner.Clone()
			g.mixed = false
		}
	}
	return act, nil
}

// An openBuffer is what a record is opened into.
type openBuffer [maxRecordLen]byte

var openBuffers = sync.Pool{New: func() any { return new(openBuffer) }}

// scratch returns where the content of record is opened to, until giveBack.
func (g *Gate) scratch() []byte {
	if g.lent == nil {
		g.lent = openBuffers.Get().(*openBuffer)
	}
	return g.lent[:0]
}

// giveBack ends the use of scratch, for content of at most n bytes.
func (g *Gate) giveBack(n int) {
	if g.lent != nil {
		clear(g.lent[:n])
		openBuffers.Put(g.lent)
		g.lent = nil
	}
}
