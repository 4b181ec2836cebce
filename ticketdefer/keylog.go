package ticketdefer

import (
	"bytes"
	"encoding/hex"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Key log labels (draft-ietf-tls-keylogfile). CLIENT_RANDOM is the label of
// TLS 1.2 and older.
const (
	labelClientTraffic = "CLIENT_TRAFFIC_SECRET_0"
	labelServerTraffic = "SERVER_TRAFFIC_SECRET_0"
	labelTLS12         = "CLIENT_RANDOM"

	labelClientHandshake = "CLIENT_HANDSHAKE_TRAFFIC_SECRET"
)

const (
	randomLen    = 32
	maxSecretLen = 48 // of a suite with SHA-384
)

// A logLine is one line of a key log that matters here.
type logLine struct {
	label  string // one of the labels above
	random [randomLen]byte
	secret [maxSecretLen]byte
	n      int // bytes of secret
}

// parseLogLine reports false for lines of other labels and other forms.
func parseLogLine(line []byte) (l logLine, ok bool) {
	label, rest, _ := bytes.Cut(line, []byte{' '})
	random, secret, _ := bytes.Cut(rest, []byte{' '})
	secret = bytes.TrimRight(secret, "\r\n")
	switch string(label) {
	case labelClientTraffic:
		l.label = labelClientTraffic // the constant: nothing is allocated
	case labelServerTraffic:
		l.label = labelServerTraffic
	case labelTLS12:
		l.label = labelTLS12
	case labelClientHandshake:
		l.label = labelClientHandshake
	default:
		return l, false
	}
	if len(random) != hex.EncodedLen(randomLen) || len(secret) > hex.EncodedLen(maxSecretLen) {
		return l, false
	}
	if _, err := hex.Decode(l.random[:], random); err != nil {
		return l, false
	}
	n, err := hex.Decode(l.secret[:], secret)
	l.n = n
	return l, err == nil
}

// take hands the line to the gate, which keeps what is its direction's.
func (g *Gate) take(l *logLine) {
	label, other := labelServerTraffic, labelClientTraffic
	if g.client {
		label, other = other, label
	}
	switch l.label {
	case label:
		g.AddSecret(l.secret[:l.n])
	case other:
		g.keepInbound(l.secret[:l.n])
	case labelTLS12:
		g.Disable(DeferralTLS12)
	case labelClientHandshake:
		g.keepHandshakeSecret(l.secret[:l.n])
	}
}

// sessions are the gates whose connections have shown a client_random and have
// not found their epoch yet.
var sessions = registry{byRandom: make(map[[randomLen]byte][]*Gate)}

// A registry finds gates by client_random. A peer may replay another's random,
// so there can be several: all are given the secret, and the AEAD decides.
type registry struct {
	mu       sync.Mutex // never held across I/O, nor while a gate's lock is taken
	byRandom map[[randomLen]byte][]*Gate
	byECH    []*Gate // see expectECH
}

const (
	// maxSameRandom bounds the gates under one client_random. Honest peers
	// never share one; the oldest goes first.
	maxSameRandom = 16

	// maxECH bounds the gates that wait for a secret under an inner
	// client_random. Each is there from its ClientHello to its first flight,
	// which is a matter of milliseconds.
	maxECH = 256
)

func (r *registry) add(random [randomLen]byte, g *Gate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byRandom[random] = appendBounded(r.byRandom[random], g, maxSameRandom)
}

func (r *registry) remove(random [randomLen]byte, g *Gate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	isG := func(other *Gate) bool { return other == g }
	if left := slices.DeleteFunc(r.byRandom[random], isG); len(left) > 0 {
		r.byRandom[random] = left
	} else {
		delete(r.byRandom, random)
	}
	r.byECH = slices.DeleteFunc(r.byECH, isG)
}

// expectECH marks a gate whose client_random on the wire may not be the one
// that crypto/tls logs: with Encrypted Client Hello it logs the inner one.
func (r *registry) expectECH(g *Gate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.byECH, g) { // crypto/tls may ask for the keys again
		r.byECH = appendBounded(r.byECH, g, maxECH)
	}
}

// find returns the gates that a line may be for. A line of a random that no
// gate has shown may be for any gate that expects ECH.
func (r *registry) find(l *logLine) []*Gate {
	r.mu.Lock()
	defer r.mu.Unlock()
	gates, ok := r.byRandom[l.random]
	switch {
	case l.label == labelTLS12:
		// A secret that is another's does no harm, the AEAD decides. That
		// the version is TLS 1.2 nothing decides: it must be this one's.
		if clients := countClients(gates); clients > 1 || len(gates)-clients > 1 {
			return nil
		}
	case !ok:
		gates = r.byECH
	}
	return slices.Clone(gates)
}

func countClients(gates []*Gate) (n int) {
	for _, g := range gates {
		if g.client {
			n++
		}
	}
	return n
}

func appendBounded(gates []*Gate, g *Gate, limit int) []*Gate {
	if len(gates) == limit {
		gates = slices.Delete(gates, 0, 1)
	}
	return append(gates, g)
}

// KeyLogWriter returns a writer for the KeyLogWriter field of a TLS
// configuration. It hands each connection's traffic secret to the Conn of this
// package that the connection runs over, found by the line's client_random, and
// drops what no Conn claims. Lines go on to next, unless that is nil; its error
// is returned.
//
// [WrapConfig] sets it on a *tls.Config. Use KeyLogWriter itself for the Config
// types of crypto/tls forks such as utls, whose lines have the same form.
func KeyLogWriter(next io.Writer) io.Writer {
	if _, ok := next.(*routingWriter); ok {
		return next
	}
	return &routingWriter{next}
}

type routingWriter struct{ next io.Writer }

func (w *routingWriter) Write(line []byte) (int, error) {
	if l, ok := parseLogLine(line); ok {
		for _, g := range sessions.find(&l) {
			g.take(&l)
		}
		clear(l.secret[:])
	}
	return passOn(w.next, line)
}

// KeyLogWriter is as the function KeyLogWriter, for a TLS configuration that
// serves only the connection of this gate: no client_random is looked at, so
// it works with Encrypted Client Hello.
func (g *Gate) KeyLogWriter(next io.Writer) io.Writer { return &gateWriter{g, next} }

type gateWriter struct {
	gate *Gate
	next io.Writer
}

func (w *gateWriter) Write(line []byte) (int, error) {
	w.gate.takeLine(line)
	return passOn(w.next, line)
}

// boundWriter is for a Conn, whose gate comes with its ClientHello.
type boundWriter struct {
	gate func() *Gate // may return nil
	next io.Writer
}

func (w *boundWriter) Write(line []byte) (int, error) {
	if g := w.gate(); g != nil {
		g.takeLine(line)
	}
	return passOn(w.next, line)
}

func (g *Gate) takeLine(line []byte) {
	if l, ok := parseLogLine(line); ok {
		g.take(&l)
		clear(l.secret[:])
	}
}

func passOn(next io.Writer, line []byte) (int, error) {
	if next == nil {
		return len(line), nil
	}
	return next.Write(line)
}

// A session is one TLS session on a Conn: its gate, and its entry in the
// registry.
type session struct {
	gate       *Gate
	random     [randomLen]byte
	registered atomic.Bool
}

// newSession registers a session. The registry holds only the gate, so a Conn
// that is dropped without Close is collected, and takes its entry with it.
func newSession(random [randomLen]byte, gate *Gate) *session {
	s := &session{gate: gate, random: random}
	s.registered.Store(true)
	sessions.add(random, gate)
	runtime.AddCleanup(s, func(gate *Gate) { sessions.remove(random, gate) }, gate)
	return s
}

// stopSearch takes the session out of the registry once its gate has found the
// epoch, or has given up.
func (s *session) stopSearch() {
	if s.registered.Load() && !s.gate.searching() {
		s.unregister()
	}
}

func (s *session) unregister() {
	if s.registered.CompareAndSwap(true, false) {
		sessions.remove(s.random, s.gate)
	}
}

// end unregisters, wipes and drops.
func (s *session) end() {
	s.unregister()
	s.gate.Wipe()
}
