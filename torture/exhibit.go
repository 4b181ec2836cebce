package torture

import (
	"fmt"
	"sync"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// exhibitEvents bounds the events of an exhibit.
const exhibitEvents = 400

// An Exhibit is the transcript of one trial of a row: of the first failure, if there is one, else of the first trial that
// was OK.
type Exhibit struct {
	Trial   int   `json:"trial"`   // counted from zero
	Case    Case  `json:"case"`    // what plays it again
	Verdict Class `json:"verdict"` // of this trial

	// Events are at most 400. Records of bulk data that follow one another are drawn together, and of what is still
	// too much the middle is left out: an event of kind "omitted" says how much.
	Events Transcript `json:"events"`
}

// An exhibit is the Exhibit of a row whose trials are still being played.
type exhibit struct {
	mu   sync.Mutex
	kept *Exhibit // guarded by mu
	at   place    // guarded by mu
}

// offer keeps the trial's transcript if it is the one to show so far, and forgets it otherwise.
func (x *exhibit) offer(t *trial, at place, c Case, verdict Verdict, failed error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	better := x.kept == nil
	if !better {
		now, best := weight(verdict.Class), weight(x.kept.Verdict)
		better = now > best || now == best && at.before(x.at)
	}
	if failed != nil || !better {
		t.forget()
		return
	}
	events := t.transcript()
	if len(events) == 0 {
		return // of a scenario that plays without a tape
	}
	x.at = at
	x.kept = &Exhibit{Trial: at.index, Case: c, Verdict: verdict.Class, Events: events.merged().bounded(exhibitEvents)}
}

// weight puts the classes in the order of how much they have to be shown: failures by gravity, then what went well.
func weight(c Class) int {
	switch {
	case c.failed():
		return 1 + int(c)
	case c == OK:
		return 1
	}
	return 0
}

// record puts the trial on tape. It is called when the configs are made, and before the scenario changes them.
func (t *trial) record() {
	t.tape = newTape()
	t.tape.tap(t.serverConfig)
	t.tape.tap(t.clientConfig)
}

// tapeStuck takes down who waits where, and ends the recording: what follows is not the sides' own doing.
func (t *trial) tapeStuck() {
	for _, s := range []*side{t.client, t.server} {
		if !s.ended() {
			s.stuck = true
			t.tape.stuck(s.transport.watched().side, s.describe())
		}
	}
	t.tape.stop()
}

// forget ends the recording and wipes it.
func (t *trial) forget() {
	t.tape.stop()
	t.tape.wipe()
}

// transcript tells what happened in the trial, which has ended, and wipes the tape.
func (t *trial) transcript() Transcript {
	t.tape.stop()
	events := t.tape.transcript()
	t.tape.wipe()
	if len(events) == 0 {
		return nil
	}
	now := events[len(events)-1].At
	if t.client == nil {
		return append(events, t.ending...)
	}
	sides := []*side{t.client, t.server}
	for _, s := range sides {
		if s.stuck || s.peer.stuck {
			break // what is under way is not lost
		}
		if lost := s.told.sent - s.peer.told.received; lost > 0 {
			events = append(events, Event{At: now, Side: s.name, Kind: EventLost, Bytes: lost,
				Text: fmt.Sprintf("the %s read %d of %d bytes", s.peer.name, s.peer.told.received, s.told.sent)})
		}
	}
	for _, s := range sides {
		text := "nothing: it was still waiting when the trial was stopped"
		if !s.stuck {
			text = s.told.String()
		}
		events = append(events, Event{At: now, Side: s.name, Kind: EventTold, Text: text})
	}
	return events
}

// String says what a side was told, in a line.
func (t told) String() string {
	text := outcome(t.err)
	if t.sent > 0 {
		text += fmt.Sprintf(", %d bytes written", t.sent)
	}
	if t.received > 0 {
		text += fmt.Sprintf(", %d bytes read", t.received)
	}
	if t.ended {
		text += ", end of stream"
	}
	return text
}

// ended reports whether the side's script has returned.
func (s *side) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// enter begins a step.
func (s *side) enter(step string) {
	s.step.Store(&step)
	m := s.transport.watched()
	m.tape.step(m.side, step)
}

// leave ends a step. A layer that counts what it holds is asked.
func (s *side) leave() {
	if stats, ok := tlsstream.StatsOf(s.conn); ok {
		m := s.transport.watched()
		m.tape.layer(m.side, stats)
	}
}
