package torture

import "time"

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
	// "key_update" or "alert close_notify"; of several messages, all.
	Inner string `json:"inner,omitempty"`

	// Bytes is the length of a record on the wire, with its header, or the number of bytes held, released or lost.
	Bytes int64 `json:"bytes,omitempty"`

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
	EventLost    EventKind = "lost" // bytes that the side had written, and that no Read will return
	EventStep    EventKind = "step" // the side's script begins a step
	EventTold    EventKind = "told" // what the side was told in the end
)
