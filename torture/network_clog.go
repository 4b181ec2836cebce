package torture

import (
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// clogs is how often a direction clogs. The first time is within the handshake or the first records.
	clogs = 6

	// clogEvery is the most that flows between two clogs, in bytes.
	clogEvery = 4 << 10

	// clogOperations is the most calls of the peer's that a clog outlasts. It ends at once if the peer stands still, since
	// over TCP a reader without anything to read has an open window.
	clogOperations = 3
)

// A blockage stops one direction several times, at places and for a time that its seed chooses.
type blockage struct {
	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at each change
	random     *rand.Rand
	times      int // that it will still clog
	flow       int // bytes until it clogs
	operations int // of the peer's until a clog ends

	deadline time.Time
	closed   bool
}

func newBlockage(seed, direction uint64) *blockage {
	c := &blockage{changed: make(chan struct{}), random: rand.New(rand.NewPCG(seed, direction)), times: clogs}
	c.nextLocked()
	return c
}

// nextLocked chooses the next clog.
func (c *blockage) nextLocked() {
	c.flow = 1 + c.random.IntN(clogEvery)
	c.operations = 1 + c.random.IntN(clogOperations)
}

// change changes the clog's state and has its waiter look again.
func (c *blockage) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// open ends the present clog.
func (c *blockage) open() { c.change(c.openLocked) }

func (c *blockage) openLocked() {
	if c.flow == 0 && c.times > 0 {
		c.times--
		c.nextLocked()
	}
}

func (c *blockage) operated() {
	c.change(func() {
		if c.flow > 0 {
			return
		}
		if c.operations--; c.operations == 0 {
			c.openLocked()
		}
	})
}

// advance counts bytes that have passed.
func (c *blockage) advance(n int) {
	c.change(func() {
		if c.times > 0 {
			c.flow = max(0, c.flow-n)
		}
	})
}

// room waits until something may pass, and returns how many bytes.
func (c *blockage) room(peerStandsStill func() bool) (int, error) {
	for {
		still := peerStandsStill()
		c.mu.Lock()
		if still {
			c.openLocked()
		}
		flow, changed, deadline, closed := c.flow, c.changed, c.deadline, c.closed
		if c.times == 0 {
			flow = int(^uint(0) >> 1)
		}
		c.mu.Unlock()
		switch {
		case closed:
			return 0, net.ErrClosed
		case !deadline.IsZero() && !time.Now().Before(deadline):
			return 0, os.ErrDeadlineExceeded
		case flow > 0:
			return flow, nil
		}
		expired := make(<-chan time.Time)
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-changed:
		case <-expired:
		}
	}
}

// clogged reports whether nothing may pass at present.
func (c *blockage) clogged() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times > 0 && c.flow == 0
}
