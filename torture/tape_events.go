package torture

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

var sideNames = [...]string{tapeClient: "client", tapeServer: "server"}

// A reading makes events of a tape.
type reading struct {
	tape   *tape
	opener opener
	out    []readEvent
	finned [2]bool // the side's FIN is told
	reset  bool    // an RST is told
}

// A readEvent is an event, and what the reading of later entries has to know of it.
type readEvent struct {
	Event
	side          int
	postHandshake bool
}

// transcript decodes the tape, which must have been stopped.
func (t *tape) transcript() Transcript {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := reading{tape: t, opener: opener{secrets: t.secrets}}
	defer r.opener.wipe()
	for i := range t.entries {
		r.read(i)
	}
	events := make(Transcript, len(r.out))
	for i := range r.out {
		events[i] = r.out[i].Event
	}
	return events
}

// add appends an event of side.
func (r *reading) add(at time.Duration, side int, e Event) *readEvent {
	e.At, e.Side = at, sideNames[side]
	r.out = append(r.out, readEvent{Event: e, side: side})
	return &r.out[len(r.out)-1]
}

// read makes events of one entry. Exactly one of the cases applies.
func (r *reading) read(i int) {
	e := &r.tape.entries[i]
	switch e.kind {
	case entryVoid:
		// Nothing of it was sent.
	case entryRecord, entryOpaque:
		r.record(e)
	case entryHold:
		r.add(e.at, e.side, Event{Kind: EventHold, Bytes: e.n, Text: records(e.count) + " kept back"}).Count = e.count
	case entryRelease:
		r.release(e)
	case entryFull, entryWait:
		r.add(e.at, e.side, Event{Kind: EventWait, Text: e.text})
	case entryFIN:
		r.fin(e, "shuts its sending half")
	case entryClose:
		r.close(i)
	case entryReset:
		if !r.reset {
			r.reset = true
			r.add(e.at, 1-e.side, Event{Kind: EventRST, Text: "answers what comes after its close"})
		}
	case entryStep:
		r.add(e.at, e.side, Event{Kind: EventStep, Text: e.text})
	}
}

func (r *reading) record(e *entry) {
	s := &r.tape.sides[e.side]
	event := Event{Kind: EventRecord, Bytes: e.n, Flight: e.flight}
	event.Unread = e.end == 0 || e.end > r.tape.sides[1-e.side].read
	what := opened{inner: innerOpaque}
	switch {
	case e.kind == entryOpaque:
		what.text = "no TLS records, or too many"
		event.Unread = false // nobody counted where it ends
	case e.end == 0:
		what.text = "cut short"
	case e.kept:
		what = r.opener.open(e.side, s.kept[e.from:e.from+int(e.n)])
	default:
		what = r.opener.open(e.side, nil)
	}
	event.Inner, event.Content, event.Text = what.inner, what.content, what.text
	r.add(e.at, e.side, event).postHandshake = what.postHandshake
}

// withoutParts names a message whatever part of it a record has.
var withoutParts = strings.NewReplacer(" (begins)", "", " (goes on)", "", " (ends)", "")

// release tells of the release in front of the first record that was held: held records leave in their order, before
// all that was made later. The event of the hold learns what was held.
func (r *reading) release(e *entry) {
	event := readEvent{side: e.side, Event: Event{At: e.at, Side: sideNames[e.side], Kind: EventRelease,
		Bytes: e.n, Text: records(e.count) + " let go"}}
	event.Count = e.count
	hold := -1
	for i := len(r.out) - 1; i >= 0 && hold < 0; i-- {
		if r.out[i].side == e.side && r.out[i].Kind == EventHold {
			hold = i
		}
	}
	var inner []string
	at := -1
	for i := hold + 1; i < len(r.out) && len(inner) < e.count; i++ {
		if out := &r.out[i]; out.side == e.side && out.postHandshake {
			if at < 0 {
				at = i
			}
			inner = append(inner, withoutParts.Replace(out.Inner))
		}
	}
	if at < 0 || hold < 0 {
		r.out = append(r.out, event)
		return
	}
	event.At = r.out[at].At
	all := len(inner) == r.out[hold].Count
	event.Inner = strings.Join(slices.Compact(inner), ", ")
	if all {
		r.out[hold].Inner = event.Inner
	}
	r.out = slices.Insert(r.out, at, event)
}

func (r *reading) fin(e *entry, text string) {
	if r.finned[e.side] || r.reset {
		return
	}
	r.finned[e.side] = true
	r.add(e.at, e.side, Event{Kind: EventFIN, Text: text})
}

// close tells what a Close sent. A transport that is closed with bytes unread sends RST in place of FIN, and the peer
// sees it; if the peer never looked, what was sent is not known.
func (r *reading) close(i int) {
	e := &r.tape.entries[i]
	unread := ""
	if e.n > 0 {
		unread = fmt.Sprintf("closes with %d bytes unread", e.n)
	}
	seen := entryVoid
	for _, later := range r.tape.entries[i+1:] {
		if later.side != e.side && (later.kind == entryReset || later.kind == entryEOF) {
			seen = later.kind
			break
		}
	}
	switch {
	case r.reset || r.finned[e.side] && e.n == 0:
		// The connection is over for this side already.
	case e.n == 0:
		r.fin(e, "closes")
	case seen == entryReset:
		r.reset = true
		r.add(e.at, e.side, Event{Kind: EventRST, Bytes: e.n, Text: unread})
	case seen == entryEOF && !r.finned[e.side]:
		r.fin(e, unread)
	default:
		r.add(e.at, e.side, Event{Kind: EventClose, Bytes: e.n, Text: unread + "; the peer no longer looks"})
	}
}

func records(n int) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}
