package ticketdefer

// collapse drops all held KeyUpdates but the first. From now on the peer will
// be in another epoch than crypto/tls.
func (g *Gate) collapse() {
	g.stats.CollapsedKeyUpdates += int64(g.heldUpdates - 1)
	g.noteKeyUpdate(KeyUpdateCollapsed, g.heldUpdates-1)
	g.heldRecords -= g.heldUpdates - 1
	g.held = g.held[:g.firstUpdateEnd]
	g.heldUpdates = 1
	g.wire, g.afterFirst = g.afterFirst, nil
}

func (g *Gate) hold(record []byte) {
	g.held = append(g.held, record...)
	if record[0] == recordChangeCipherSpec {
		return
	}
	g.heldRecords++
	g.note(Event{
		Kind: EventHeld, Records: 1, Bytes: len(record), KeyUpdate: g.update,
		TotalRecords: g.heldRecords, TotalBytes: len(g.held),
	})
}

// forceRelease is called where a bound makes held records leave early.
func (g *Gate) forceRelease() {
	g.stats.ForcedReleases++
	g.cause = ReleaseBound
}

// release appends everything held to due.
func (g *Gate) release(due [][]byte) [][]byte {
	if len(g.held) == 0 {
		return due
	}
	due = append(due, g.held)
	if g.heldRecords > 0 {
		g.stats.ReleasedRecords += int64(g.heldRecords)
		g.stats.ReleasedBytes += int64(len(g.held))
		g.note(Event{Kind: EventReleased, Records: g.heldRecords, Bytes: len(g.held), Cause: g.cause})
	}
	if g.heldUpdates > 0 {
		g.noteKeyUpdate(KeyUpdateAnswered, g.heldUpdates)
	}
	g.forget()
	return due
}

// forget empties what is held.
func (g *Gate) forget() {
	g.held, g.heldRecords = nil, 0
	g.heldUpdates, g.firstUpdateEnd, g.mixed = 0, 0, false
	g.afterFirst.Wipe()
	g.afterFirst = nil
}

// Release returns the records held, oldest first, and holds nothing from then
// on. They are the caller's to send before anything that Filter returns later.
func (g *Gate) Release() [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ReleaseLocked()
}

// ReleaseLocked is Release for a caller that has locked the gate.
func (g *Gate) ReleaseLocked() [][]byte {
	g.cause = ReleaseFlush
	if g.own != nil {
		return [][]byte{g.sealHeld(nil)}
	}
	return g.release(nil)
}
