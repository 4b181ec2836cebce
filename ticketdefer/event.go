package ticketdefer

import "time"

// An Event is something that this layer did on its own account, or saw. It holds
// counts, sizes in bytes and reasons; never a secret, and nothing of what was sent.
type Event struct {
	Kind EventKind

	// Of EventHeld and EventReleased. TotalRecords and TotalBytes are what is held
	// after the event.
	Records, Bytes           int
	TotalRecords, TotalBytes int
	KeyUpdate                bool         // EventHeld: the record is an answer to a KeyUpdate; else it is of a NewSessionTicket, as a rule
	Cause                    ReleaseCause // EventReleased

	// Of EventKeyUpdate.
	State KeyUpdateState
	Count int

	// Of EventAlert. The number is known unless TLS 1.2 has encrypted it.
	Alert  uint8
	Known  bool
	Remote bool // the peer has sent it

	Deferral Deferral // of EventDeferral

	// Of EventDrainBegin and EventDrainEnd.
	Drain  DrainCause
	Within time.Duration // how long it may take at most
	Took   time.Duration // EventDrainEnd
	End    DrainEnd      // EventDrainEnd

	Lost int // of EventLost
}

// An EventKind tells which fields of an Event are set.
type EventKind uint8

const (
	EventHeld       EventKind = iota // a post-handshake record waits (RFC 8446 4.6)
	EventReleased                    // what waited has become due
	EventKeyUpdate                   // see KeyUpdateState (RFC 8446 4.6.3)
	EventAlert                       // an alert has become due, or has come (RFC 8446 6)
	EventDeferral                    // Stats.Deferral has changed
	EventDrainBegin                  // this side has said its last word and reads to the peer's end
	EventDrainEnd                    // it has stopped
	EventLost                        // so many events are missing here: see Observer
)

// A ReleaseCause is why held records have become due.
type ReleaseCause uint8

const (
	ReleaseData  ReleaseCause = iota // the application wrote
	ReleaseAlert                     // an alert takes them along, close_notify as a rule
	ReleaseFlush                     // FlushTickets, or CloseWrite of the layer
	ReleaseBound                     // as much was held as may be: Stats.ForcedReleases
	ReleaseOff                       // deferral was turned off
)

func (c ReleaseCause) String() string {
	return nameOf(c, "data", "alert", "flush", "bound", "deferral off")
}

// A KeyUpdateState is what has become of answers to a peer's KeyUpdate. A KeyUpdate
// that asks for no answer shows in none of them.
type KeyUpdateState uint8

const (
	KeyUpdateSeen      KeyUpdateState = iota // the TLS stack has written an answer: the peer has asked for it
	KeyUpdateAnswered                        // an answer has become due
	KeyUpdateCollapsed                       // there will be no answer of its own: an earlier one, still held, stands for it
)

func (s KeyUpdateState) String() string { return nameOf(s, "seen", "answered", "collapsed") }

// A DrainCause is why a side reads to the peer's end before it closes.
type DrainCause uint8

const (
	DrainClose   DrainCause = iota // a client that may have unread tickets of its server closes
	DrainAbort                     // the peer shall see the alert of an Abort
	DrainRefusal                   // a client shall see the alert with which a server has refused it
)

func (c DrainCause) String() string { return nameOf(c, "close", "abort", "refusal") }

// A DrainEnd is why draining has stopped.
type DrainEnd uint8

const (
	DrainPeerEnded DrainEnd = iota // the peer has ended its stream: by close_notify or FIN
	DrainTimedOut                  // the time, or the user's read deadline, was over
	DrainAlerted                   // the peer has sent a fatal alert
	DrainReset                     // the connection was reset, or failed in another way
	DrainLimit                     // the peer went on sending: 16 MiB were discarded
)

func (e DrainEnd) String() string {
	return nameOf(e, "peer ended", "timeout", "alert", "reset", "limit")
}

func nameOf[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}
