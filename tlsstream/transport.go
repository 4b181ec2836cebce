package tlsstream

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
)

// inputLimit is how many bytes Feed keeps before they are read: four records of
// full size. It must be more than one, or no record would ever be complete.
const inputLimit = 4 * (16<<10 + 256 + 5)

// transport is the net.Conn under crypto/tls. It does no I/O of its own: it
// reads what was fed, hands what is written to the gate, and queues what is due.
// Writes never fail and never block: a KeyUpdate answer that crypto/tls could not
// write would make it skip its own change of read keys, and a Read that waits for
// a write is what this package is against.
//
// During the handshake a Read that has nothing suspends the handshake's
// goroutine. Afterwards it reads from source, or returns ErrWantRead.
type transport struct {
	gate *ticketdefer.Gate
	turn *handshakeTurn // nil once the handshake is over; then an idle endpoint keeps little
	due  dueQueue

	local, remote net.Addr

	// source is read once the handshake is over and nothing fed is left; nil
	// for an Engine. It must not return bytes and an error together.
	source io.Reader

	// loanSource is source for one that lends memory; nil over what is no socket.
	loanSource func(membio.Lender) (int, error)

	// socket lets application data leave as it is sealed, from crypto/tls's own
	// memory, if nothing is due before it. It is a write that never waits, so the
	// lock of crypto/tls's under which it is made holds up nobody. Nil for an
	// Engine, and over transports that are no sockets: there everything goes through
	// the queue.
	socket *membio.Socket
	toSeal int // bytes that the application's Write has still to seal; its own

	// unopened is how much of a record an ownReader has taken off in, or source.
	unopened atomic.Int32

	// direct is set while Read has nothing to ask but source. It is changed under mu.
	direct atomic.Bool

	mu sync.Mutex // taken last, never held across a call out of this file
	// Guarded by mu.
	in       membio.Buffer
	received int64
	end      error // what Read returns once in is empty; io.EOF after FeedEOF
	sawEnd   bool  // Read has returned end, when that was io.EOF
	started  bool  // the handshake is over
	head     []byte
	want     []byte // where a suspended handshake would read to
	filled   int    // bytes that fill has put there
}

// recordOverhead is what sealing adds to application data (RFC 8446 5.2): header,
// content type, and the tag of any of its suites.
const recordOverhead = 5 + 1 + 16

// headLen is how many of the first bytes from the peer are kept until the
// handshake is over, to tell what the peer speaks if it is not TLS.
const headLen = 96 // a ServerHello up to its cipher suite

func (t *transport) Read(p []byte) (int, error) { return t.readAtMost(p, len(p)) }

// readAtMost is Read of at most so many bytes. All of p may be used: what fill reads
// into it beyond that stays here.
func (t *transport) readAtMost(p []byte, most int) (int, error) {
	for {
		if t.direct.Load() {
			return t.readSource(p)
		}
		t.mu.Lock()
		if t.filled > 0 {
			n := min(t.filled, most)
			t.in.Write(p[n:t.filled])
			t.want, t.filled = nil, 0
			t.mu.Unlock()
			return n, nil
		}
		if t.in.Len() > 0 {
			n, _ := t.in.Read(p[:min(len(p), most)])
			t.settleLocked()
			t.mu.Unlock()
			return n, nil
		}
		if t.end != nil {
			err := t.end
			t.sawEnd = t.sawEnd || err == io.EOF
			t.mu.Unlock()
			return 0, err
		}
		started := t.started
		if !started {
			t.want = p
		}
		t.mu.Unlock()
		switch {
		case !started:
			if err := t.turn.suspend(); err != nil {
				return 0, err
			}
		case t.source == nil:
			return 0, ErrWantRead
		default:
			return t.readSource(p)
		}
	}
}

func (t *transport) readSource(p []byte) (int, error) {
	n, err := t.source.Read(p)
	if err == io.EOF {
		t.fail(io.EOF)
		return t.Read(p)
	}
	return n, err
}

// fill makes one Read of r for a suspended handshake, straight into the memory
// of crypto/tls: however many handshakes wait for their peers, none holds a
// buffer. It returns only timeouts; other errors are the handshake's to return.
// broken is why nothing can be sent any more, or nil: a kernel reports a reset
// once, and to whoever asks next, the end of the stream.
func (t *transport) fill(r io.Reader, broken error) error {
	t.mu.Lock()
	p := t.want
	t.mu.Unlock()
	n, err := r.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.filled = n
	t.countLocked(p[:n])
	if err == nil || isTimeout(err) {
		return err
	}
	if err == io.EOF && broken != nil {
		err = broken
	}
	if t.end == nil {
		t.end = err
	}
	return nil
}

// countLocked notes bytes that came from the peer.
func (t *transport) countLocked(p []byte) {
	t.received += int64(len(p))
	if !t.started && len(t.head) < headLen {
		t.head = append(t.head, p[:min(len(p), headLen-len(t.head))]...)
	}
}

// isTimeout reports whether err is of a deadline, and the call can be made again.
// ETIMEDOUT calls itself a timeout too: it says that the connection is dead.
func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}

// feed takes bytes from the peer, as many as inputLimit allows.
func (t *transport) feed(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end != nil {
		return 0, net.ErrClosed
	}
	t.in.Limit = inputLimit - int(t.unopened.Load())
	n, err := t.in.Write(p)
	t.countLocked(p[:n])
	if err != nil {
		err = ErrInputFull
	}
	return n, err
}

// fail makes Read return err, once what was fed before is used up.
func (t *transport) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.direct.Store(false)
	if t.end == nil {
		t.end = err
	}
}

// starved reports whether crypto/tls would find nothing to read.
func (t *transport) starved() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.in.Len() == 0 && t.filled == 0 && t.end == nil
}

// start ends the handshake's special rules. The caller is that of the turn's step.
func (t *transport) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.started = true
	t.head, t.want, t.turn = nil, nil, nil
	t.settleLocked()
}

// settleLocked sets direct to what is the case.
func (t *transport) settleLocked() {
	t.direct.Store(t.started && t.source != nil && t.in.Len() == 0 && t.filled == 0 && t.end == nil)
}

// progress returns how many bytes have come, and the first of them while the
// handshake goes on.
func (t *transport) progress() (received int64, head []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.received, t.head
}

// truncated reports whether crypto/tls was shown the end of the transport's
// stream. It asks only when it needs more, so an EOF of its own after that is
// not close_notify.
func (t *transport) truncated() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sawEnd
}

func (t *transport) buffered() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.in.Len() + int(t.unopened.Load())
}

func (t *transport) Write(p []byte) (int, error) {
	t.gate.Lock()
	if t.gate.PassLocked(p) {
		// Application data: this is the goroutine of the application's Write.
		t.toSeal -= len(p) - recordOverhead
		if t.writesNow() && t.due.pending() == 0 {
			t.gate.Unlock()
			n, err := t.socket.TryWrite(p, t.toSeal > 0)
			if n < len(p) || err != nil {
				t.due.putBack(p[n:], err)
			}
			return len(p), nil
		}
		t.due.queueLocked(p)
		t.gate.Unlock()
		return len(p), nil
	}
	defer t.gate.Unlock()
	var room [4][]byte // for all but the oddest flights
	due, err := t.gate.FilterLocked(room[:0], p)
	if t.gate.SawDataLocked() {
		t.toSeal -= len(p) - recordOverhead
	}
	switch {
	case errors.Is(err, net.ErrClosed):
		// The stream is closed. A Read that is still at work may be answering
		// a KeyUpdate, and must go on to its next keys.
		return len(p), nil
	case err != nil:
		return 0, err
	}
	t.due.queueLocked(due...)
	return len(p), nil
}

// writesNow reports whether a record of application data with nothing before it
// leaves at once. If the system would send each by itself, only the last of a Write
// does, and the others wait for it in the queue.
func (t *transport) writesNow() bool {
	return t.socket != nil && (t.toSeal == 0 || t.socket.Gathers())
}

// slice is how much of a Write is sealed at once.
func (t *transport) slice() int {
	if t.socket != nil && t.socket.Gathers() {
		return recordSlice
	}
	return writeSlice
}

// abort makes a fatal alert due; see ticketdefer.Gate.Abort.
func (t *transport) abort(description uint8, cipherSuite uint16, message []byte) error {
	t.gate.Lock()
	defer t.gate.Unlock()
	due, err := t.gate.AbortLocked(description, cipherSuite, message)
	t.due.queueLocked(due...)
	return err
}

// poison replaces what is to come from the peer by what crypto/tls answers with a
// fatal alert.
func (t *transport) poison() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.direct.Store(false)
	t.in.Reset()
	t.in.Limit = inputLimit
	t.in.Write(ticketdefer.BadRecords())
	t.end = net.ErrClosed
}

// release makes everything held due.
func (t *transport) release() {
	t.gate.Lock()
	defer t.gate.Unlock()
	t.due.queueLocked(t.gate.ReleaseLocked()...)
}

// Close is called by crypto/tls when the context of a handshake ends, and by
// Engine.Close. It wakes a suspended handshake, which then fails.
func (t *transport) Close() error {
	t.mu.Lock()
	t.direct.Store(false)
	t.in.Reset()
	t.end = net.ErrClosed
	turn := t.turn
	t.mu.Unlock()
	turn.stop()
	return nil
}

// Addresses are never nil: with a session cache and no ServerName crypto/tls
// makes the cache's key of RemoteAddr().String().
func (t *transport) LocalAddr() net.Addr  { return addrOrNone(t.local) }
func (t *transport) RemoteAddr() net.Addr { return addrOrNone(t.remote) }

func addrOrNone(a net.Addr) net.Addr {
	if a == nil {
		return noAddr{}
	}
	return a
}

// noAddr is the address of a peer that only an Engine's caller knows.
type noAddr struct{}

func (noAddr) Network() string { return "memory" }
func (noAddr) String() string  { return "" }

// Deadlines are the stream's business: nothing waits here.
func (*transport) SetDeadline(time.Time) error      { return nil }
func (*transport) SetReadDeadline(time.Time) error  { return nil }
func (*transport) SetWriteDeadline(time.Time) error { return nil }
