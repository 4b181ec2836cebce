package membio

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Turn is a lock that is held for a whole call, transport I/O included. A
// sync.Mutex will not do: one must be able to ask whether it is taken and to give up
// waiting, and testing/synctest has to see who waits. A channel of one place does all
// that, and takes as long as a tenth of a small write. The first to wait is the next
// to have it, so nobody starves behind a loop of writes. The zero value is free.
type Turn struct {
	state atomic.Int32 // turnFree, Held or Wanted

	mu    sync.Mutex  // never held while anything is waited for
	first *turnWaiter // guarded by mu; nil if nobody waits
}

// A turnWaiter is in a list, which costs a Turn that nobody waits for one word: a
// connection has several.
type turnWaiter struct {
	next *turnWaiter
	turn chan struct{} // closed to hand the lock over
}

const (
	turnFree   = iota
	turnHeld   // and nobody waits, or is about to be looked at
	turnWanted // held, and somebody waits
)

// TryLock takes the turn if it is free.
func (t *Turn) TryLock() bool { return t.state.CompareAndSwap(turnFree, turnHeld) }

// Lock takes the turn, and waits for it.
func (t *Turn) Lock() {
	if !t.TryLock() {
		t.LockOr(nil, nil)
	}
}

// LockOr waits for the turn until one of the channels gives or is closed, and
// reports whether it has it. Either channel may be nil.
func (t *Turn) LockOr(done <-chan struct{}, late <-chan time.Time) bool {
	t.mu.Lock()
	for !t.state.CompareAndSwap(turnHeld, turnWanted) && t.state.Load() != turnWanted {
		if t.TryLock() {
			t.mu.Unlock()
			return true
		}
	}
	mine := &turnWaiter{turn: make(chan struct{})}
	last := &t.first
	for *last != nil {
		last = &(*last).next
	}
	*last = mine
	t.mu.Unlock()
	select {
	case <-mine.turn:
		return true
	case <-done:
	case <-late:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := &t.first
	for *at != mine {
		if *at == nil {
			return true // it was handed over meanwhile
		}
		at = &(*at).next
	}
	*at = mine.next
	if t.first == nil {
		t.state.Store(turnHeld)
	}
	return false
}

// Unlock ends the turn, and hands it to the first who waits.
func (t *Turn) Unlock() {
	if t.state.CompareAndSwap(turnHeld, turnFree) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.first
	if next == nil {
		t.state.Store(turnFree)
		return
	}
	if t.first = next.next; t.first == nil {
		t.state.Store(turnHeld)
	}
	close(next.turn)
}
