package torture

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A tape takes down what the two sides of a trial do, cheaply: the records that they write, still sealed, and what
// else happens on their transports, in one order. It is read only if the trial is kept, by transcript.
//
// The keys of the trial's connections are on it, and nowhere else; wipe removes them. A nil tape takes nothing down.
type tape struct {
	begun      time.Time
	transports [2]metered

	mu      sync.Mutex // innermost, never held across I/O: crypto/tls logs keys under a lock of the whole process
	stopped bool       // the trial is over; what still runs is not taken down
	entries []entry
	sides   [2]tapeSide
	secrets map[secretID][]byte
}

// The sides of a tape.
const (
	tapeClient = iota
	tapeServer
)

type secretID struct{ label, random string }

// A tapeSide is the state of one side's outbound direction.
type tapeSide struct {
	header  [headerBytes]byte
	have    int // bytes of header
	left    int // bytes still to come of the record
	current int // its entry
	keep    bool

	kept    []byte // the records that are kept, one after the other
	opaque  bool   // what comes is not TLS records, or is beyond the bounds
	flights int
	written int64 // bytes that Write was given and has not refused
	read    int64 // bytes that this side's Reads returned

	step      string
	sawEOF    bool
	sawReset  bool
	closed    bool
	fullSince int // the flight whose wait has been taken down
	stats     tlsstream.Stats
}

// An entry is one thing on a tape.
type entry struct {
	at   time.Duration
	side int
	kind entryKind

	n      int64 // of a record its length, of other things their bytes
	end    int64 // of a record, where it ends in the side's stream
	from   int   // of a record that is kept, where it begins in the side's kept
	kept   bool
	flight int
	count  int // of records held or released
	text   string
}

type entryKind uint8

const (
	entryVoid   entryKind = iota // was written and refused by the transport
	entryRecord                  // n is zero if not even its header came
	entryOpaque                  // n bytes that are not records
	entryHold
	entryRelease
	entryFull  // a write stood still
	entryWait  // how the trial was found when it had to be stopped
	entryFIN   // the side called CloseWrite
	entryClose // the side called Close, with n bytes unread
	entryEOF   // the side saw its peer's FIN
	entryReset // the side saw a reset
	entryStep
)

const (
	maxRecord = headerBytes + maxPlaintext + 2048 // RFC 5246 6.2.3; TLS 1.3 allows less

	// A tape keeps whole records up to tapeBytes for each side, then only small ones, which may be tickets, KeyUpdates
	// and alerts, up to twice that; and of everything no more than tapeEntries.
	tapeBytes   = 2 << 20
	smallRecord = 512
	tapeEntries = 1 << 15

	// slowWrite is how long a write over a transport that cannot be asked takes to count as one that stood still.
	slowWrite = 3 * time.Millisecond
)

// keptPool saves a trial from growing its memory anew.
var keptPool = sync.Pool{New: func() any { return new([]byte) }}

func newTape() *tape {
	t := &tape{begun: time.Now(), secrets: make(map[secretID][]byte)}
	for i := range t.sides {
		t.sides[i].kept = (*keptPool.Get().(*[]byte))[:0]
	}
	return t
}

// tap makes the connections of config leave their secrets on the tape, too.
func (t *tape) tap(config *tls.Config) { config.KeyLogWriter = &tapeKeys{t, config.KeyLogWriter} }

type tapeKeys struct {
	tape *tape
	next io.Writer
}

func (w *tapeKeys) Write(line []byte) (int, error) {
	w.tape.secret(line)
	if w.next == nil {
		return len(line), nil
	}
	return w.next.Write(line)
}

// secret takes a line of a key log.
func (t *tape) secret(line []byte) {
	fields := bytes.Fields(line)
	if len(fields) != 3 {
		return
	}
	secret := make([]byte, hex.DecodedLen(len(fields[2])))
	if _, err := hex.Decode(secret, fields[2]); err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		clear(secret)
		return
	}
	t.secrets[secretID{string(fields[0]), string(fields[1])}] = secret
}

// connect puts the trial's two transports under the tape. It is called before they are used.
func (t *tape) connect(client, server metered) {
	for i, transport := range []metered{client, server} {
		t.transports[i] = transport
		m := transport.watched()
		m.tape, m.side = t, i
	}
}

// addLocked appends an entry and returns its index, or -1 if there is no room.
func (t *tape) addLocked(e entry) int {
	if len(t.entries) == tapeEntries {
		return -1
	}
	e.at = time.Since(t.begun)
	t.entries = append(t.entries, e)
	return len(t.entries) - 1
}

// A written is one transport write under way.
type written struct {
	before  tapeSide
	entries int
	began   time.Time
}

// write takes down what side is about to write: the peer may act on it before the write returns.
func (t *tape) write(side int, p []byte) (w written) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	w = written{before: t.sides[side], entries: len(t.entries), began: time.Now()}
	t.sides[side].flights++
	t.frameLocked(side, p)
	return w
}

// wrote amends what write took down: the transport accepted the first n bytes of p. The stack may write the rest again.
func (t *tape) wrote(side int, p []byte, n int, w written, err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.sides[side]
	if t.stopped || w.began.IsZero() {
		return
	}
	// Over a connection that is gone nothing is written again: there the records stay, and nobody reads them.
	if n < len(p) && !isReset(err) && s.flights == w.before.flights+1 {
		for i := w.entries; i < len(t.entries); i++ {
			if e := &t.entries[i]; e.side == side && (e.kind == entryRecord || e.kind == entryOpaque) {
				e.kind = entryVoid
			}
		}
		// What happened to the side meanwhile stays; only its framing goes back.
		before := w.before
		s.header, s.have, s.left, s.current, s.keep = before.header, before.have, before.left, before.current, before.keep
		s.kept, s.opaque, s.written = s.kept[:len(before.kept)], before.opaque, before.written
		if s.have > 0 {
			t.entries[s.current].end = 0 // a record that began in an earlier write
		}
		t.frameLocked(side, p[:n])
	}
	if _, known := t.transports[side].waits(); !known && time.Since(w.began) >= slowWrite && err == nil {
		t.addLocked(entry{side: side, kind: entryFull, text: "the write took " + time.Since(w.began).Round(time.Millisecond).String()})
	}
	t.sawLocked(side, err)
}

// frameLocked cuts p into records.
func (t *tape) frameLocked(side int, p []byte) {
	s := &t.sides[side]
	for len(p) > 0 {
		if s.opaque {
			last := len(t.entries) - 1
			if last >= 0 && t.entries[last].kind == entryOpaque && t.entries[last].side == side {
				t.entries[last].n += int64(len(p))
			} else {
				t.addLocked(entry{side: side, kind: entryOpaque, n: int64(len(p)), flight: s.flights})
			}
			s.written += int64(len(p))
			return
		}
		if s.have == 0 {
			s.current = t.addLocked(entry{side: side, kind: entryRecord})
			if s.current < 0 {
				s.opaque = true
				continue
			}
		}
		e := &t.entries[s.current]
		var n int
		if s.have < headerBytes {
			n = copy(s.header[s.have:], p)
			if s.have += n; s.have == headerBytes {
				t.beginRecordLocked(s, e)
			}
		} else {
			n = min(s.left, len(p))
			if s.keep {
				s.kept = append(s.kept, p[:n]...)
			}
			s.left -= n
		}
		s.written += int64(n)
		e.flight = s.flights
		if s.have == headerBytes && s.left == 0 {
			e.end = s.written
			s.have = 0
		}
		p = p[n:]
	}
}

// beginRecordLocked decides what to do with a record when its header has come.
func (t *tape) beginRecordLocked(s *tapeSide, e *entry) {
	s.left = int(s.header[3])<<8 | int(s.header[4])
	total := headerBytes + s.left
	if s.header[0] < typeChangeCipherSpec || s.header[0] > typeApplicationData || s.header[1] != 3 || total > maxRecord {
		e.kind, e.n = entryOpaque, headerBytes
		s.opaque, s.have, s.left = true, 0, 0
		return
	}
	e.n = int64(total)
	s.keep = len(s.kept)+total <= tapeBytes || total <= smallRecord && len(s.kept)+total <= 2*tapeBytes
	if e.kept = s.keep; s.keep {
		e.from = len(s.kept)
		s.kept = append(s.kept, s.header[:]...)
	}
}

// reads takes down that the peer's write stands still, if it does: only this Read lets it go on.
func (t *tape) reads(side int) {
	if t == nil {
		return
	}
	peer := t.transports[1-side]
	if peer.watched().writing.Load() == 0 || !peer.full() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := &t.sides[1-side]; !t.stopped && s.fullSince != s.flights {
		s.fullSince = s.flights
		t.addLocked(entry{side: 1 - side, kind: entryFull, text: "window full"})
	}
}

// hasRead takes down the end of a Read.
func (t *tape) hasRead(side int, n int, err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	t.sides[side].read += int64(n)
	t.sawLocked(side, err)
}

// sawLocked takes down what an error of its transport tells a side about its peer.
func (t *tape) sawLocked(side int, err error) {
	s := &t.sides[side]
	switch {
	case err == nil || s.closed:
	case err == io.EOF && !s.sawEOF:
		s.sawEOF = true
		t.addLocked(entry{side: side, kind: entryEOF})
	case !s.sawReset && isReset(err):
		s.sawReset = true
		t.addLocked(entry{side: side, kind: entryReset})
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// closes takes down that side is about to close its transport, or its sending half.
func (t *tape) closes(side int, kind entryKind) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.sides[side]
	if t.stopped || s.closed {
		return
	}
	s.closed = kind == entryClose
	t.addLocked(entry{side: side, kind: kind, n: t.sides[1-side].written - s.read})
}

// step takes down that the script of a side has come to a step.
func (t *tape) step(side int, step string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := &t.sides[side]; !t.stopped && s.step != step {
		s.step = step
		t.addLocked(entry{side: side, kind: entryStep, text: step})
	}
}

// layer takes down what the side's layer has held and released since it was last asked.
func (t *tape) layer(side int, now tlsstream.Stats) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	last := t.sides[side].stats
	t.sides[side].stats = now
	released := int(now.ReleasedRecords - last.ReleasedRecords)
	releasedBytes := now.ReleasedBytes - last.ReleasedBytes
	if held := now.HeldRecords - last.HeldRecords + released; held > 0 {
		bytes := int64(now.HeldBytes-last.HeldBytes) + releasedBytes
		t.addLocked(entry{side: side, kind: entryHold, n: bytes, count: held})
	}
	if released > 0 {
		t.addLocked(entry{side: side, kind: entryRelease, n: releasedBytes, count: released})
	}
}

// stuck takes down where a side waits in a trial that has to be stopped.
func (t *tape) stuck(side int, where string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addLocked(entry{side: side, kind: entryWait, text: where})
}

// stop ends the recording.
func (t *tape) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
}

// wipe overwrites the secrets, and gives the memory back. The tape must have been stopped, and is empty then.
func (t *tape) wipe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, secret := range t.secrets {
		clear(secret)
	}
	t.secrets, t.entries = nil, nil
	for i := range t.sides {
		kept := t.sides[i].kept
		t.sides[i].kept = nil
		keptPool.Put(&kept)
	}
}
