package proxy

import (
	"sync"
	"time"
)

// A watch calls a function once nothing has moved for some time. It looks when that
// could be, so that moving costs nothing but a stamp.
type watch struct {
	idle    time.Duration
	moved   func() moment
	expired func()

	mu    sync.Mutex
	timer *time.Timer // guarded by mu; nil once stopped
}

func startWatch(idle time.Duration, moved func() moment, expired func()) *watch {
	w := &watch{idle: idle, moved: moved, expired: expired}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(idle, w.look)
	return w
}

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	if left := w.moved() + w.idle - now(); left > 0 {
		w.timer.Reset(left)
		return
	}
	w.expired()
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.timer = nil
}
