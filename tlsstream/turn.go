package tlsstream

import (
	"net"
	"runtime"
	"sync"
)

// A handshakeTurn runs crypto/tls's handshake, which wants to block in Read, one
// step at a time: from one Read that finds nothing to the next.
//
// The handshake has a goroutine of its own, and it and the caller of step take
// turns: one runs, the other waits on a channel. iter.Pull would save two channel
// operations a flight, next to some 500 µs of arithmetic, but resuming it from a
// goroutine with another LockOSThread state ends the process, and event loops
// lock threads.
//
// A panic or a Goexit in a callback of the user's, such as GetCertificate, comes
// out of step, where net/http and testing expect it.
type handshakeTurn struct {
	suspended chan struct{} // the handshake waits for input
	resume    chan struct{} // there is some, or none will come
	finished  chan struct{} // closed when the goroutine ends

	stopOnce sync.Once
	stopped  chan struct{}

	started  bool // guarded by the caller of step
	err      error
	panicked any
	returned bool // handshake returned; else it panicked or called Goexit, and step has still to do the same
}

func newHandshakeTurn() *handshakeTurn {
	return &handshakeTurn{
		suspended: make(chan struct{}),
		resume:    make(chan struct{}),
		finished:  make(chan struct{}),
		stopped:   make(chan struct{}),
	}
}

// step starts handshake, or goes on with it, until it ends or finds nothing to
// read. It reports whether it has ended, and with what error. One goroutine may
// call it at a time. Once it has started, handshake is not looked at.
func (t *handshakeTurn) step(handshake func() error) (ended bool, err error) {
	if !t.started {
		t.started = true
		go t.run(handshake)
	} else {
		select {
		case t.resume <- struct{}{}:
		case <-t.finished:
		}
	}
	select {
	case <-t.suspended:
		return false, nil
	case <-t.finished:
	}
	if !t.returned {
		t.returned = true // told once; later calls return err
		if t.panicked != nil {
			panic(t.panicked)
		}
		runtime.Goexit()
	}
	return true, t.err
}

func (t *handshakeTurn) run(handshake func() error) {
	defer close(t.finished)
	defer func() {
		if !t.returned {
			t.panicked = recover()
			t.err = net.ErrClosed
		}
	}()
	growStack(false)
	t.err = handshake()
	t.returned = true
}

// growStack makes the goroutine's stack as large as a handshake needs it, in one step
// and while there is next to nothing on it. It would double several times in the midst
// of it, which costs a resumed handshake 3 % of its time. The frame is room that is asked
// for, and not written to.
//
//go:noinline
func growStack(write bool) {
	if write {
		var frame [24 << 10]byte
		runtime.KeepAlive(&frame)
	}
}

// suspend is called on the handshake's goroutine.
func (t *handshakeTurn) suspend() error {
	select {
	case t.suspended <- struct{}{}:
	case <-t.stopped:
		return net.ErrClosed
	}
	select {
	case <-t.resume:
		return nil
	case <-t.stopped:
		return net.ErrClosed
	}
}

// stop makes suspend fail from now on. A turn that is over is nil.
func (t *handshakeTurn) stop() {
	if t != nil {
		t.stopOnce.Do(func() { close(t.stopped) })
	}
}

// begun reports whether a handshake has been started and is not complete. The caller is
// that of step.
func (t *handshakeTurn) begun() bool { return t != nil && t.started }
