package ticketdefer

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// maxEvents bounds the events that wait because the function that takes them does
// not return. A connection in good order has five or so.
const maxEvents = 1024

// An Observer collects the events of one connection where they happen, which is
// under locks, and hands them to a function where none is held: one at a time, in
// their order. If more than 1,024 wait, later ones are dropped, and an EventLost says
// how many. A nil *Observer does nothing.
type Observer struct {
	take func(Event)

	waiting atomic.Bool // queue is not empty

	mu sync.Mutex // taken last, never held across a call of take
	// Guarded by mu.
	queue      []Event
	lost       int
	delivering bool // somebody is in a loop of deliver
}

// NewObserver returns an Observer that hands events to take. take may call whatever
// it likes.
func NewObserver(take func(Event)) *Observer { return &Observer{take: take} }

// Note keeps e for the next delivery. It may be called under any lock.
func (o *Observer) Note(e Event) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= maxEvents {
		o.lost++
		return
	}
	o.queue = append(o.queue, e)
	o.waiting.Store(true)
}

// Deliver hands over what is kept, with no lock held; the caller holds none either.
// If another goroutine is doing so, or the caller is inside the function, that one
// hands over the rest.
func (o *Observer) Deliver() {
	if o != nil && o.waiting.Load() { // small enough to be inlined: each Read and Write asks
		o.begin(false)
	}
}

// DeliverAside is Deliver in a goroutine of its own, for callers that hold a lock, or
// run under one of somebody else's.
func (o *Observer) DeliverAside() {
	if o != nil && o.waiting.Load() {
		o.begin(true)
	}
}

func (o *Observer) begin(aside bool) {
	o.mu.Lock()
	already := o.delivering
	o.delivering = true
	o.mu.Unlock()
	switch {
	case already:
	case aside:
		go o.deliver()
	default:
		o.deliver()
	}
}

func (o *Observer) deliver() {
	normal := false
	defer func() {
		if !normal { // take panicked or called Goexit; the next call goes on
			o.mu.Lock()
			o.delivering = false
			o.mu.Unlock()
		}
	}()
	for {
		e, ok := o.next()
		if !ok {
			normal = true
			return
		}
		o.take(e)
	}
}

// next takes the oldest event, or ends the delivery if there is none.
func (o *Observer) next() (Event, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		if o.lost > 0 {
			e := Event{Kind: EventLost, Lost: o.lost}
			o.lost = 0
			return e, true
		}
		o.queue = nil // an idle connection keeps no buffer
		o.waiting.Store(false)
		o.delivering = false
		return Event{}, false
	}
	e := o.queue[0]
	o.queue = o.queue[1:]
	return e, true
}

// NoteDrain notes that a drain begins. What it returns notes its end.
func (o *Observer) NoteDrain(cause DrainCause, within time.Duration) (end func(DrainEnd)) {
	if o == nil {
		return func(DrainEnd) {}
	}
	began := time.Now()
	o.Note(Event{Kind: EventDrainBegin, Drain: cause, Within: within})
	return func(why DrainEnd) {
		o.Note(Event{Kind: EventDrainEnd, Drain: cause, Within: within, Took: time.Since(began), End: why})
	}
}

// CloseDrained is membio.CloseDrained after a refusal, which it notes.
func (o *Observer) CloseDrained(conn net.Conn, within time.Duration) error {
	if o == nil {
		return membio.CloseDrained(conn, within)
	}
	var end func(DrainEnd)
	return membio.CloseDrainedFunc(conn, within,
		func() { end = o.NoteDrain(DrainRefusal, within) },
		func(err error) {
			end(DrainEndOf(err))
			o.Deliver()
		})
}

// DrainEndOf tells from the error that ended a drain, or nil, why it did.
func DrainEndOf(err error) DrainEnd {
	var timeout net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return DrainPeerEnded
	case errors.Is(err, membio.ErrFull):
		return DrainLimit
	case errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, syscall.ETIMEDOUT):
		return DrainTimedOut
	}
	return DrainReset
}

// Observe makes the gate note its events with o. It is called before anything else.
func (g *Gate) Observe(o *Observer) { g.observer = o }

func (g *Gate) note(e Event) {
	if g.observer != nil {
		g.observer.Note(e)
	}
}

func (g *Gate) noteSaid() {
	g.note(*g.said)
	g.said = nil
}

func (g *Gate) noteKeyUpdate(state KeyUpdateState, n int) {
	g.note(Event{Kind: EventKeyUpdate, State: state, Count: n})
}

func (g *Gate) setDeferral(d Deferral) {
	if g.stats.Deferral != d {
		g.stats.Deferral = d
		g.note(Event{Kind: EventDeferral, Deferral: d})
	}
}
