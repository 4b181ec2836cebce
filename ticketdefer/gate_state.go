package ticketdefer

// Disable turns deferral off for good: what is held becomes due with the next
// Filter or Release, and everything passes.
func (g *Gate) Disable(why Deferral) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase == phaseHandshake {
		g.turnOff(why)
	}
}

func (g *Gate) turnOff(why Deferral) {
	g.phase, g.cause = phaseOff, ReleaseOff
	if why == DeferralNotRecords {
		g.over.Store(true)
	}
	g.setDeferral(why)
	g.wipeCandidates()
	g.wipeInbound()
}

// Closed reports whether the gate's TLS session is over, so that another may
// begin: close_notify has passed, or something that is not TLS, or Wipe has
// ended it.
func (g *Gate) Closed() bool { return g.over.Load() }

func (g *Gate) close() {
	g.phase = phaseClosed
	g.over.Store(true)
}

// noteAlert counts an alert and returns its description. One that cannot be read,
// because TLS 1.2 has encrypted it, is of no account: it may be close_notify.
func (g *Gate) noteAlert(content []byte) (description int) {
	g.alerts.Add(1)
	g.said = &Event{Kind: EventAlert, Known: len(content) == 2}
	if g.said.Known {
		g.said.Alert = content[1]
	}
	if len(content) == 2 && content[1] == alertCloseNotify {
		return alertCloseNotify
	}
	if len(content) == 2 && g.fatal == 0 {
		g.fatal = content[1]
	}
	return -1
}

// refused reports whether a server has sent a fatal alert.
func (g *Gate) refused() bool { return !g.client && g.FatalAlert() != 0 }

// FatalAlert returns the description of the fatal alert that the TLS stack has
// sent; zero, which is close_notify's, if it has sent none that can be told.
func (g *Gate) FatalAlert() byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fatal
}

// HelloSent reports whether a server has sent its ServerHello, or a
// HelloRetryRequest.
func (g *Gate) HelloSent() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.client && g.suite != 0
}

// Alerts returns how many alerts the TLS stack has written, as far as they can be
// told: a server's alerts under handshake keys are not counted.
func (g *Gate) Alerts() int64 { return g.alerts.Load() }

// Stats returns the gate's counters.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.HeldRecords, s.HeldBytes = g.heldRecords, len(g.held)
	if g.own != nil {
		s.HeldBytes = g.own.heldBytes
	}
	if s.Deferral == DeferralWaiting && len(g.candidates) > 0 {
		s.Deferral = DeferralReady
	}
	s.Alerts = g.alerts.Load()
	return s
}

// Wipe overwrites the secrets and drops what is held. It ends the gate's work:
// Filter fails with net.ErrClosed from then on. Stats still answers.
func (g *Gate) Wipe() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.phase = phaseWiped
	g.over.Store(true)
	g.wipeCandidates()
	g.inner.Wipe()
	g.wire.Wipe()
	g.inner, g.wire = nil, nil
	g.forget()
	g.wipeInbound()
	g.own.wipe()
}
