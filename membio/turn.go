package membio

import (
	"slices"
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

	mu      sync.Mutex      // never held while anything is waited for
	waiting []chan struct{} // guarded by mu; one is closed to hand the lock over
}

const (
	turnFree   = iota
	turnHeld   // and waiting is empty, or about to be looked at
	turnWanted // held, and waiting is not empty
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
// reports whether it has it. Either channel may be nit.
func (t *Turn) LockOr(done <-chan struct{}, late <-chan time.Time) bool {
	t.mu.Lock()
	for !t.state.CompareAndSwap(turnHeld, turnWanted) && t.state.Load() != turnWanted {
		if t.TryLock() {
			t.mu.Unlock()
			return true
		}
	}
	mine := make(chan struct{})
	t.waiting = append(t.waiting, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-done:
	case <-late:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, mine)
	if i < 0 {
		return true // it was handed over meanwhile
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	if len(t.waiting) == 0 {
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
	if len(t.waiting) == 0 {
		t.state.Store(turnFree)
		return
	}
	next := t.waiting[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	if len(t.waiting) == 0 {
		t.state.Store(turnHeld)
	}
	close(next)
}
