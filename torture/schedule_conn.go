package torture

import (
	"errors"
	"iter"
	"net"
	"sync"
	"time"
)

// A grantedConn is one end of a schedule's wire as a net.Conn. Every call waits at the gate.
type grantedConn struct {
	schedule *schedule
	side     int

	// enter takes a call to the gate and returns when it was granted. It reports false if there is no gate any more.
	enter func(*call) bool

	halfClosed bool // CloseWrite was called; belongs to whoever runs the side

	mu sync.Mutex
	// Guarded by mu.
	readDeadline, writeDeadline time.Duration
}

func (c *grantedConn) do(kind callKind, p []byte) (int, error) {
	call := &call{kind: kind, buf: p}
	c.mu.Lock()
	switch kind {
	case callRead:
		call.deadline = c.readDeadline
	case callWrite:
		call.deadline = c.writeDeadline
	}
	c.mu.Unlock()
	if c.schedule.stopped.Load() || !c.enter(call) {
		return 0, net.ErrClosed
	}
	return call.n, call.err
}

func (c *grantedConn) Read(p []byte) (int, error)  { return c.do(callRead, p) }
func (c *grantedConn) Write(p []byte) (int, error) { return c.do(callWrite, p) }

func (c *grantedConn) CloseWrite() error {
	c.halfClosed = true
	_, err := c.do(callCloseWrite, nil)
	return err
}

func (c *grantedConn) Close() error {
	_, err := c.do(callClose, nil)
	return err
}

// SetLinger with 0 makes Close send an RST.
func (c *grantedConn) SetLinger(sec int) error {
	if sec > 0 {
		return errors.ErrUnsupported
	}
	c.schedule.wire.ends[c.side].lingerZero = sec == 0
	return nil
}

func (c *grantedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *grantedConn) SetReadDeadline(t time.Time) error  { return c.set(&c.readDeadline, t) }
func (c *grantedConn) SetWriteDeadline(t time.Time) error { return c.set(&c.writeDeadline, t) }

// set puts a deadline on the virtual clock. One that is not in the future has passed, whatever the clock says.
func (c *grantedConn) set(deadline *time.Duration, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch left := time.Until(t); {
	case t.IsZero():
		*deadline = noDeadline
	case left <= 0:
		*deadline = passed
	default:
		*deadline = c.now() + max(deadlineStep, left.Round(deadlineStep))
	}
	return nil
}

// now is the virtual time since the run began.
func (c *grantedConn) now() time.Duration { return time.Duration(c.schedule.clock.Load()) }

func (c *grantedConn) LocalAddr() net.Addr  { return grantedAddr(sideNames[c.side]) }
func (c *grantedConn) RemoteAddr() net.Addr { return grantedAddr(sideNames[1-c.side]) }

type grantedAddr string

func (grantedAddr) Network() string  { return "granted" }
func (a grantedAddr) String() string { return string(a) }

// A meteredGranted is a grantedConn whose calls are taken down on tape.
type meteredGranted struct {
	*grantedConn
	*meter
}

// newMeteredGranted puts conn under the tape of its schedule.
func newMeteredGranted(conn *grantedConn) meteredGranted {
	c := meteredGranted{conn, &meter{tape: conn.schedule.tape, side: conn.side}}
	if tape := conn.schedule.tape; tape != nil {
		tape.transports[conn.side] = c
	}
	return c
}

// waits is known: whoever asks is the only one that runs, so nobody else is inside a call that goes on.
func (c meteredGranted) waits() (waits, known bool) { return false, true }

func (c meteredGranted) full() bool { return len(c.schedule.wire.ends[c.grantedConn.side].offer) > 0 }

func (c meteredGranted) Read(p []byte) (int, error)  { return c.read(c.grantedConn.Read, p) }
func (c meteredGranted) Write(p []byte) (int, error) { return c.write(c.grantedConn.Write, p) }
func (c meteredGranted) CloseWrite() error           { return c.end(c.grantedConn.CloseWrite, entryFIN) }
func (c meteredGranted) Close() error                { return c.end(c.grantedConn.Close, entryClose) }

// A coroutine is the actor of a side that has no goroutines: it runs on the schedule's own.
type coroutine struct {
	resume func() (*call, bool)
	stop   func()
}

// newCoroutine returns a side that plays script over conn.
func newCoroutine(conn *grantedConn, script func()) *coroutine {
	resume, stop := iter.Pull(func(yield func(*call) bool) {
		conn.enter = yield
		script()
	})
	return &coroutine{resume, stop}
}

func (a *coroutine) next() (*call, error) {
	c, _ := a.resume()
	return c, nil
}

func (a *coroutine) abandon() bool {
	a.stop()
	return true
}

// stackPatience is how long a stack may compute between two calls of its transport. Past that it waits for something that
// the schedule does not see: a lock, or a goroutine of its own.
const stackPatience = 10 * time.Second

var errHidden = errors.New("waits outside of its transport, on a lock perhaps")

// A goroutine is the actor of any side.
type goroutine struct {
	script   func()
	arrivals chan *call
	granted  chan struct{}
	done     chan struct{} // closed when the script has returned
	gone     chan struct{} // closed when nobody grants any more
	started  bool
	standing bool
	patience *time.Timer
}

func newGoroutine(conn *grantedConn, script func()) *goroutine {
	a := &goroutine{
		script:   script,
		arrivals: make(chan *call),
		granted:  make(chan struct{}),
		done:     make(chan struct{}),
		gone:     make(chan struct{}),
	}
	conn.enter = func(c *call) bool {
		select {
		case a.arrivals <- c:
		case <-a.gone:
			return false
		}
		select {
		case <-a.granted:
			return true
		case <-a.gone:
			return false
		}
	}
	return a
}

func (a *goroutine) next() (*call, error) {
	switch {
	case !a.started:
		a.started = true
		a.patience = time.NewTimer(stackPatience)
		go func() {
			defer close(a.done)
			a.script()
		}()
	default:
		a.patience.Reset(stackPatience)
		if a.standing {
			a.granted <- struct{}{}
		}
	}
	a.standing = false
	defer a.patience.Stop()
	select {
	case c := <-a.arrivals:
		a.standing = true
		return c, nil
	case <-a.done:
		return nil, nil
	case <-a.patience.C:
		return nil, errHidden
	}
}

// abandon ends the side when nobody grants any more. It reports whether the script has returned.
func (a *goroutine) abandon() bool {
	if !a.started {
		return true
	}
	close(a.gone)
	patience := time.NewTimer(abandonAfter)
	defer patience.Stop()
	select {
	case <-a.done:
		return true
	case <-patience.C:
		return false
	}
}
