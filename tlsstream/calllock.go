package tlsstream

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A callLock is held for a whole call, transport I/O included. A sync.Mutex will
// not do: one must be able to ask whether it is taken and to give up waiting, and
// testing/synctest has to see who waits. A channel of one place does all that, and
// takes as long as a tenth of a small write. The first to wait is the next to have
// it, so nobody starves behind a loop of writes. The zero value is free.
type callLock struct {
	state atomic.Int32 // callLockFree, Held or Wanted

	mu      sync.Mutex      // never held while anything is waited for
	waiting []chan struct{} // guarded by mu; one is closed to hand the lock over
}

const (
	callLockFree   = iota
	callLockHeld   // and waiting is empty, or about to be looked at
	callLockWanted // held, and waiting is not empty
)

func (l *callLock) tryLock() bool { return l.state.CompareAndSwap(callLockFree, callLockHeld) }

func (l *callLock) lock() {
	if !l.tryLock() {
		l.lockOr(nil, nil)
	}
}

// lockOr waits for the lock until one of the channels gives or is closed, and
// reports whether it has it. Either channel may be nil.
func (l *callLock) lockOr(done <-chan struct{}, late <-chan time.Time) bool {
	l.mu.Lock()
	for !l.state.CompareAndSwap(callLockHeld, callLockWanted) && l.state.Load() != callLockWanted {
		if l.tryLock() {
			l.mu.Unlock()
			return true
		}
	}
	mine := make(chan struct{})
	l.waiting = append(l.waiting, mine)
	l.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-done:
	case <-late:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, mine)
	if i < 0 {
		return true // it was handed over meanwhile
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	if len(l.waiting) == 0 {
		l.state.Store(callLockHeld)
	}
	return false
}

func (l *callLock) unlock() {
	if l.state.CompareAndSwap(callLockHeld, callLockFree) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.state.Store(callLockFree)
		return
	}
	next := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	if len(l.waiting) == 0 {
		l.state.Store(callLockHeld)
	}
	close(next)
}
