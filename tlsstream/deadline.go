package tlsstream

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// processStart is what deadlines count from: it has a monotonic reading, so that
// a clock that is set does not move them.
var processStart = time.Now()

// A deadline is one of the transport's: the user's, or an earlier bound of this
// package's own while it has something to send or to wait for by itself.
type deadline struct {
	set func(net.Conn, time.Time) error
	on  net.Conn

	due atomic.Int64 // chosen as time since processStart, at least 1; zero if there is none

	mu     sync.Mutex
	chosen time.Time // by the user; guarded by mu
	limit  time.Time // by us, zero if there is none; guarded by mu
	alone  bool      // limit counts, and chosen does not; guarded by mu
}

func (d *deadline) user(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.chosen = t
	d.due.Store(0)
	if !t.IsZero() {
		d.due.Store(max(1, int64(t.Sub(processStart))))
	}
	return d.applyLocked()
}

// passed reports whether the user's deadline has passed: then nothing must be
// sealed, since a Write that reports 0 bytes has sent none.
func (d *deadline) passed() bool {
	due := d.due.Load()
	return due != 0 && due <= int64(time.Since(processStart))
}

func (d *deadline) bound(within time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit, d.alone = time.Now().Add(within), false
	_ = d.applyLocked() // a transport that has no deadlines bounds itself
}

// overrule replaces the user's deadline by a bound, or by none if within is zero.
func (d *deadline) overrule(within time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit, d.alone = time.Time{}, true
	if within > 0 {
		d.limit = time.Now().Add(within)
	}
	_ = d.applyLocked()
}

func (d *deadline) unbound() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit, d.alone = time.Time{}, false
	_ = d.applyLocked()
}

func (d *deadline) applyLocked() error {
	t := d.chosen
	if d.alone || !d.limit.IsZero() && (t.IsZero() || d.limit.Before(t)) {
		t = d.limit
	}
	return d.set(d.on, t)
}
