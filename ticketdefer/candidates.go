package ticketdefer

import (
	"bytes"
	"slices"
)

// A candidate is a traffic secret that may be this connection's.
type candidate struct {
	secret []byte
	epochs []*Epoch // one for each suite that fits the secret; made at first use
}

// openFirst tries whether record is the first of the application epoch, under
// each secret that may be this connection's, and enters the epoch if it is.
func (g *Gate) openFirst(record []byte) (contentType byte, content []byte, ok bool) {
	if record[0] != recordApplicationData {
		return 0, nil, false
	}
	candidates := g.candidates
	if g.awaitsWord {
		candidates = nil
	}
	for _, c := range candidates {
		for _, e := range c.open(g.suite) {
			contentType, content, err := e.Open(g.scratch(), record)
			if err != nil {
				continue
			}
			g.inner = e
			g.phase = phaseEpoch
			g.setDeferral(DeferralOn)
			c.epochs = slices.DeleteFunc(c.epochs, func(other *Epoch) bool { return other == e })
			g.wipeCandidates() // all copies but the one that e owns
			return contentType, content, true
		}
	}
	if len(g.candidates) == 0 && g.stats.Deferral == DeferralWaiting {
		g.setDeferral(DeferralNoSecret) // crypto/tls logs it before it seals; a later one still counts
	}
	if g.trials++; g.trials >= maxTrials {
		if len(g.candidates) == 0 {
			g.turnOff(g.stats.Deferral)
		} else {
			g.turnOff(DeferralUnopened)
		}
	}
	return 0, nil, false
}

// open returns the epochs that the candidate's secret may begin. suite is zero if it
// is not known: the length of a secret tells its hash, and only SHA-384 is used by
// just one suite.
func (c *candidate) open(suite uint16) []*Epoch {
	if c.epochs == nil {
		for _, s := range suites {
			if s.hashLen != len(c.secret) || suite != 0 && s.id != suite {
				continue
			}
			// Each epoch owns its secret. An error means that this
			// process may not use the suite (GODEBUG=fips140=only).
			if e, err := newEpoch(s, bytes.Clone(c.secret)); err == nil {
				c.epochs = append(c.epochs, e)
			}
		}
	}
	return c.epochs
}

// AddSecret offers a *_TRAFFIC_SECRET_0 that may be this direction's. It is
// copied. Once the epoch has begun it does nothing.
func (g *Gate) AddSecret(secret []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase != phaseHandshake {
		return
	}
	if len(g.candidates) == maxCandidates {
		if g.trials > 0 {
			// crypto/tls logs the secret before it writes any encrypted
			// record, so the right one is here. A server that waits for
			// a client's certificate must not lose it to others'.
			return
		}
		// The newest is the likeliest: crypto/tls logs a secret just
		// before it writes under it.
		g.candidates[0].wipe()
		g.candidates = append(g.candidates[:0], g.candidates[1:]...)
	}
	g.candidates = append(g.candidates, &candidate{secret: bytes.Clone(secret)})
}

// AwaitEstablished says that Established will be called before the TLS stack writes
// the first record of the application epoch, as a client's never does earlier: no
// record is tried until then. It is called before the handshake.
func (g *Gate) AwaitEstablished() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.awaitsWord = g.client
}

// Established says that the handshake of TLS 1.3 is complete. It saves finding that
// out by opening records: what the stack writes from now on is application data,
// unless it has the length of a KeyUpdate or of an alert. The gate must be bound to
// this connection, see [Gate.KeyLogWriter]: its secret is then no other's.
func (g *Gate) Established(cipherSuite uint16) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.phase == phaseEpoch:
		g.phase = phaseStream
		g.inner.rest()
		return
	case g.phase != phaseHandshake || len(g.candidates) != 1 || len(g.frames.partial) > 0:
		return
	}
	g.awaitsWord = false
	for _, s := range suites {
		if c := g.candidates[0]; s.id == cipherSuite && s.hashLen == len(c.secret) {
			g.inner = restingEpoch(s, bytes.Clone(c.secret))
			g.phase = phaseStream
			g.setDeferral(DeferralOn)
			g.wipeCandidates()
			return
		}
	}
}

func (g *Gate) wipeCandidates() {
	clear(g.handshakeSecret)
	g.handshakeSecret = nil
	for _, c := range g.candidates {
		c.wipe()
	}
	g.candidates = nil
}

func (c *candidate) wipe() {
	clear(c.secret)
	for _, e := range c.epochs {
		e.Wipe()
	}
}

// noteHandshakeAlert notes a client's alert about the server's flight. It is the
// first that the client seals.
func (g *Gate) noteHandshakeAlert(record []byte) {
	if g.handshakeSecret == nil {
		return
	}
	c := candidate{secret: g.handshakeSecret}
	for _, e := range c.open(g.suite) {
		if contentType, content, err := e.Open(g.scratch(), record); err == nil && contentType == recordAlert {
			g.noteAlert(content)
		}
		e.Wipe()
	}
}

// HasSecret reports whether a traffic secret of the application epoch has come: on
// a client, the server's flight has been verified.
func (g *Gate) HasSecret() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inner != nil || len(g.candidates) > 0
}

// searching reports whether a traffic secret would still be of use.
func (g *Gate) searching() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.phase == phaseHandshake
}
