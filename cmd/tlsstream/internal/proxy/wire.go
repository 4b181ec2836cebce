package proxy

import (
	"net"
	"sync/atomic"
	"time"
)

// A moment is a time on the monotonic clock, since the program began.
type moment = time.Duration

var began = time.Now()

func now() moment { return time.Since(began) }

// A stamp is the moment when something happened last.
type stamp struct{ at atomic.Int64 }

func (s *stamp) set()        { s.at.Store(int64(now())) }
func (s *stamp) get() moment { return moment(s.at.Load()) }

// A wire is the TCP connection beneath a TLS stream. It knows when its peer last
// sent anything: a record may take longer to arrive than a quiet moment lasts, and
// the stream above shows nothing of it before its last byte.
type wire struct {
	*net.TCPConn
	heard stamp

	failing atomic.Bool // the stream does not end in order
	ended   atomic.Bool // its last word, sent since then, is an alert
}

// fail says that the stream does not end in order, so that its peer must see an
// alert, or else a reset: a FIN alone passes for the end with too many programs.
func (w *wire) fail() {
	w.ended.Store(false)
	w.failing.Store(true)
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.TCPConn.Read(p)
	if n > 0 {
		w.heard.set()
	}
	return n, err
}

// CloseWrite is called by the stream when its close_notify or its alert has been
// sent.
func (w *wire) CloseWrite() error {
	w.ended.Store(true)
	return w.TCPConn.CloseWrite()
}

func (w *wire) Close() error {
	if w.failing.Load() && !w.ended.Load() {
		return reset(w.TCPConn)
	}
	return w.TCPConn.Close()
}

// reset closes conn by RST. What the kernel has not sent is lost.
func reset(conn *net.TCPConn) error {
	_ = conn.SetLinger(0) // it fails only if conn is closed
	return conn.Close()
}

// setBuffers sizes conn's buffers in the kernel. It fails only if conn is closed, and
// whoever uses conn next is told so.
func setBuffers(conn *net.TCPConn, size int) {
	if size > 0 {
		_ = conn.SetReadBuffer(size)
		_ = conn.SetWriteBuffer(size)
	}
}

const (
	firstLook   = time.Millisecond
	longestLook = 50 * time.Millisecond
)

// resetBehind closes conn by RST once the peer's kernel has everything that was
// written to conn before, or has taken nothing for as long as patience, or stop is
// closed. There is no event to wait for, so it looks, now and then.
func resetBehind(conn *net.TCPConn, patience time.Duration, stop <-chan struct{}) error {
	last, moved := uint64(0), now()
	for wait := firstLook; ; wait = min(2*wait, longestLook) {
		pending, taken := undelivered(conn)
		if taken != last {
			last, moved = taken, now()
		}
		if !pending || now()-moved > patience {
			return reset(conn)
		}
		select {
		case <-time.After(wait):
		case <-stop:
			return reset(conn)
		}
	}
}
