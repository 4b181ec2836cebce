package torture

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Transcript is what happened in one trial, in order, as a bug report would tell it.
type Transcript []Event

// An Event is one thing that happened in a trial.
type Event struct {
	// At is the time since the trial began. It is no part of what a seed determines.
	At time.Duration `json:"at_ns"`

	// Side is whose doing it is: "client" or "server".
	Side string `json:"side"`

	Kind EventKind `json:"kind"`

	// Inner is what a record carries inside its protection, such as "application_data", "new_session_ticket",
	// "key_update" or "alert close_notify"; of several messages, all. It is "opaque" if the record could not be opened.
	Inner string `json:"inner,omitempty"`

	// Bytes is the length of a record on the wire, with its header, or the number of bytes held, released or lost.
	Bytes int64 `json:"bytes,omitempty"`

	// Content is how many bytes of content a record that could be opened has, without padding.
	Content int64 `json:"content_bytes,omitempty"`

	// Flight counts the side's writes to its transport: records of the same flight left in one write.
	Flight int `json:"flight,omitempty"`

	// Unread is set for a record that the peer did not take from its transport to the end.
	Unread bool `json:"unread,omitempty"`

	// Count is how many events in a row this one stands for, if more than one, or how many records were held or released.
	// Their bytes are added up.
	Count int `json:"count,omitempty"`

	// Text says the rest in a few words: the step of a script, the call that waits, what the side was told.
	Text string `json:"text,omitempty"`
}

// An EventKind says what an Event is.
type EventKind string

const (
	EventRecord  EventKind = "record"  // the side wrote a TLS record to its transport
	EventHold    EventKind = "hold"    // the side's layer keeps a record back
	EventRelease EventKind = "release" // the layer lets go of what it kept back
	EventWait    EventKind = "wait"    // a transport call of the side cannot go on: window full, or nothing to read
	EventFIN     EventKind = "fin"
	EventRST     EventKind = "rst"
	EventClose   EventKind = "close" // the side closed its transport, and whether FIN or RST went out nobody saw
	EventLost    EventKind = "lost"  // bytes that the side had written, and that no Read will return
	EventStep    EventKind = "step"  // the side's script begins a step
	EventTold    EventKind = "told"  // what the side was told in the end
	EventOmitted EventKind = "omitted"
)

// String returns the event in one line, without its time.
func (e Event) String() string {
	words := []string{e.Side, string(e.Kind)}
	if e.Inner != "" {
		words = append(words, e.Inner)
	}
	if e.Count > 1 {
		words = append(words, fmt.Sprintf("× %d", e.Count))
	}
	if e.Bytes > 0 {
		words = append(words, fmt.Sprintf("%d bytes", e.Bytes))
	}
	if e.Flight > 0 {
		words = append(words, fmt.Sprintf("in flight %d", e.Flight))
	}
	if e.Unread {
		words = append(words, "never read")
	}
	if e.Text != "" {
		words = append(words, "("+e.Text+")")
	}
	return strings.Join(words, " ")
}

// Diff returns the first difference between two transcripts in one line, or nothing if they tell the same. When
// something happened is no difference.
func (t Transcript) Diff(other Transcript) string {
	at := func(t Transcript, i int) string {
		if i < len(t) {
			return t[i].String()
		}
		return "the end"
	}
	for i := range max(len(t), len(other)) {
		if i < len(t) && i < len(other) {
			a, b := t[i], other[i]
			a.At, b.At = 0, 0
			if a == b {
				continue
			}
		}
		return fmt.Sprintf("event %d: %s, and in the other %s", i, at(t, i), at(other, i))
	}
	return ""
}

// merged returns the transcript with each run of bulk records of one side, and the waits among them, drawn together.
// A run of a few events stays as it is.
func (t Transcript) merged() Transcript {
	const few = 3
	var out Transcript
	for len(t) > 0 {
		n := t.bulk()
		if n <= few {
			n = max(n, 1)
			out = append(out, t[:n]...)
		} else {
			out = append(out, t[:n].sum()...)
		}
		t = t[n:]
	}
	return out
}

// bulk is the number of events at the beginning of t that are a run: application data and KeyUpdates of one side, with
// its waits between.
func (t Transcript) bulk() int {
	for i, e := range t {
		same := e.Side == t[0].Side && e.Unread == t[0].Unread || e.Side == t[0].Side && e.Kind == EventWait
		isBulk := e.Kind == EventWait ||
			e.Kind == EventRecord && (e.Inner == innerApplicationData || e.Inner == innerKeyUpdate || e.Inner == innerOpaque)
		if !same || !isBulk || t[0].Kind == EventWait {
			return i
		}
	}
	return len(t)
}

// sum draws a run together: what the records carried, in the order of first appearance, then how often the side waited.
func (t Transcript) sum() Transcript {
	records := Event{At: t[0].At, Side: t[0].Side, Kind: EventRecord, Unread: t[0].Unread}
	var waits Event
	var inner []string
	count := make(map[string]int)
	for _, e := range t {
		if e.Kind == EventWait {
			if waits.Count++; waits.Count == 1 {
				e.Count = 1
				waits = e
			}
			continue
		}
		records.Count++
		records.Bytes += e.Bytes
		records.Content += e.Content
		if count[e.Inner]++; !slices.Contains(inner, e.Inner) {
			inner = append(inner, e.Inner)
		}
	}
	records.Inner = strings.Join(inner, ", ")
	if len(inner) > 1 {
		var parts []string
		for _, name := range inner {
			parts = append(parts, fmt.Sprintf("%d %s", count[name], name))
		}
		records.Text = strings.Join(parts, ", ")
	}
	out := Transcript{records}
	if waits.Count > 0 {
		out = append(out, waits)
	}
	return out
}

// bounded returns at most limit events: the first and the last ones, and between them how many are left out.
func (t Transcript) bounded(limit int) Transcript {
	if len(t) <= limit {
		return t
	}
	head := limit / 2
	tail := limit - head - 1
	left := len(t) - head - tail
	out := slices.Clone(t[:head])
	out = append(out, Event{At: t[head].At, Kind: EventOmitted, Count: left, Text: fmt.Sprintf("%d more events", left)})
	return append(out, t[len(t)-tail:]...)
}
