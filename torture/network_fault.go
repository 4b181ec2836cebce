package torture

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// A faultConn is one end of a pipe with faults. Heal switches the faults of both ends off, for good.
type faultConn struct {
	*membio.PipeConn
	peer    *faultConn
	healed  *atomic.Bool
	trickle bool      // a call moves one byte at a time
	clog    *blockage // of what this end writes; nil if there is none

	// writeTurn is full while a Write is under way: a transport's Write is atomic, in however many pieces it goes.
	writeTurn chan struct{}

	reading atomic.Int32 // calls inside Read
}

// newFaultPipe returns a pipe whose ends are not clogged, and do not trickle.
func newFaultPipe(options membio.PipeOptions) (a, b *faultConn) {
	healed := new(atomic.Bool)
	end := func(conn *membio.PipeConn) *faultConn {
		return &faultConn{PipeConn: conn, healed: healed, writeTurn: make(chan struct{}, 1)}
	}
	first, second := membio.Pipe(options)
	a, b = end(first), end(second)
	a.peer, b.peer = b, a
	return a, b
}

// Heal switches the faults off.
func (c *faultConn) Heal() {
	c.healed.Store(true)
	for _, end := range []*faultConn{c, c.peer} {
		if end.clog != nil {
			end.clog.open()
		}
	}
}

func (c *faultConn) Read(p []byte) (int, error) {
	if c.trickle && len(p) > 1 && !c.healed.Load() {
		p = p[:1]
	}
	c.reading.Add(1)
	defer c.reading.Add(-1)
	if c.standsStill() {
		c.peer.unclog()
	}
	n, err := c.PipeConn.Read(p)
	c.peer.operated()
	return n, err
}

func (c *faultConn) Write(p []byte) (n int, err error) {
	c.writeTurn <- struct{}{}
	defer func() { <-c.writeTurn }()
	defer c.peer.operated()
	for {
		piece := p[n:]
		if c.trickle && !c.healed.Load() {
			piece = piece[:min(len(piece), 1)]
		}
		if c.clog != nil && !c.healed.Load() {
			room, err := c.clog.room(c.peer.standsStill)
			if err != nil {
				return n, &net.OpError{Op: "write", Net: "pipe", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
			}
			piece = piece[:min(len(piece), room)]
		}
		k, err := c.PipeConn.Write(piece)
		n += k
		if c.clog != nil {
			c.clog.advance(k)
		}
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// standsStill reports whether the end is in a Read that has nothing to return.
func (c *faultConn) standsStill() bool {
	return c.reading.Load() > 0 && c.Unread() == 0 && c.peer.Unsent() == 0
}

// operated counts a call of the peer's that has returned.
func (c *faultConn) operated() {
	if c.clog != nil {
		c.clog.operated()
	}
}

func (c *faultConn) unclog() {
	if c.clog != nil {
		c.clog.open()
	}
}

// SetDeadline sets both deadlines.
func (c *faultConn) SetDeadline(t time.Time) error {
	c.clogDeadline(t)
	return c.PipeConn.SetDeadline(t)
}

// SetWriteDeadline holds for a Write that is clogged, too.
func (c *faultConn) SetWriteDeadline(t time.Time) error {
	c.clogDeadline(t)
	return c.PipeConn.SetWriteDeadline(t)
}

func (c *faultConn) clogDeadline(t time.Time) {
	if c.clog != nil {
		c.clog.change(func() { c.clog.deadline = t })
	}
}

// Close ends a Write that is clogged, too, at either end: nobody will read what the peer writes.
func (c *faultConn) Close() error {
	if c.clog != nil {
		c.clog.change(func() { c.clog.closed = true })
	}
	err := c.PipeConn.Close()
	if clog := c.peer.clog; clog != nil {
		clog.change(func() { clog.times = 0 })
	}
	return err
}

// meteredFault is a faultConn with a meter.
type meteredFault struct {
	*faultConn
	*meter
	sendBuffer int
}

func (c meteredFault) waits() (waits, known bool) {
	clogged := c.clog != nil && !c.healed.Load() && c.clog.clogged()
	writing := c.writing.Load() > 0 && (clogged || c.Unsent() >= c.sendBuffer)
	return writing || c.standsStill(), true
}

func (c meteredFault) full() bool { return c.sendBuffer > 0 && c.Unsent() >= c.sendBuffer }

func (c meteredFault) Read(p []byte) (int, error)  { return c.read(c.faultConn.Read, p) }
func (c meteredFault) Write(p []byte) (int, error) { return c.write(c.faultConn.Write, p) }
func (c meteredFault) CloseWrite() error           { return c.end(c.faultConn.CloseWrite, entryFIN) }
func (c meteredFault) Close() error                { return c.end(c.faultConn.Close, entryClose) }
