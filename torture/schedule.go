package torture

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// How a granted run works.
//
// Two sides run their programs over a wire. Every call of the transport goes to a gate and waits there for a grant. When
// both sides stand at the gate, or have ended, the schedule grants one call that does not block, by its policy, and
// that side runs on to its next call. So at any time one side runs at most, and what happens follows from the seed alone.
//
// If no call can go on, those that wait for the peer to stand still go on; then the earliest deadline expires: time is
// virtual, and passes only when nothing else happens. If there is no deadline either, it is a deadlock, and it is found
// at once, without a clock.
//
// A side runs on a goroutine of its own, or, if it has no goroutines, as a coroutine; see actor.

// A call is what a side stands at the gate with.
type call struct {
	kind     callKind
	buf      []byte
	deadline time.Duration // on the virtual clock; see noDeadline and passed

	started bool // a write in progress
	n       int
	err     error
}

type callKind string

const (
	callRead       callKind = "transport read"
	callWrite      callKind = "transport write"
	callCloseWrite callKind = "transport half-close"
	callClose      callKind = "transport close"
	callBegin      callKind = "start" // goes on when both sides have come so far, or the peer stands still
	callWait       callKind = "wait for the peer to stand still"
)

const (
	noDeadline time.Duration = 0
	passed     time.Duration = -1

	// deadlineStep is what deadlines are rounded to: what a stack adds to the time of day must not depend on how fast
	// it computes.
	deadlineStep = 100 * time.Millisecond
)

// An actor is a side as the schedule sees it: it runs from call to call.
type actor interface {
	// next has the side go on until it stands at the gate. The call that it stood at before is done. It returns nil
	// when the side has ended.
	next() (*call, error)

	// abandon ends the side when the schedule has. It reports whether the side has returned from all its calls.
	abandon() bool
}

// A policy says which side goes first when both can.
type policy interface{ first() int }

type fixedPolicy int

func (p fixedPolicy) first() int { return int(p) }

type randomPolicy struct{ *rand.Rand }

func (p randomPolicy) first() int { return p.IntN(2) }

// maxCalls bounds a run, which otherwise need not end if a stack does not.
const maxCalls = 1 << 20

// A schedule is one granted run.
type schedule struct {
	wire   *socketPair
	actors [2]actor
	policy policy
	clock  atomic.Int64 // virtual, in nanoseconds

	at    [2]*call // nil while the side runs, and when it has ended
	ended [2]bool
	begun [2]bool

	// stopped is set when the run was a deadlock. From then on every call fails.
	stopped atomic.Bool

	// tape, if not nil, takes down where the sides stand in a deadlock, and nothing after that.
	tape *tape
}

// run has both sides run to their ends. stuck is where they stand if they do not come to it.
func (s *schedule) run() (stuck string, err error) {
	for range maxCalls {
		if err := s.advance(); err != nil {
			return "", err
		}
		if s.ended[0] && s.ended[1] {
			return "", nil
		}
		if side, ok := s.pick(); ok {
			s.grant(side)
			continue
		}
		stuck = s.describe()
		break
	}
	if stuck == "" {
		stuck = fmt.Sprintf("after %d calls of the transport, ", maxCalls) + s.describe()
	}
	return stuck, s.stop()
}

// advance has the sides that run stand at the gate.
func (s *schedule) advance() error {
	for side := range s.at {
		if s.at[side] != nil || s.ended[side] {
			continue
		}
		c, err := s.actors[side].next()
		if err != nil {
			return fmt.Errorf("the %s %w", sideNames[side], err)
		}
		s.at[side], s.ended[side] = c, c == nil
		if c != nil && c.kind == callBegin {
			s.begun[side] = true
		}
	}
	return nil
}

// pick chooses the side whose call is granted.
func (s *schedule) pick() (side int, ok bool) {
	first := s.policy.first()
	for _, can := range []func(int) bool{s.ready, s.waiting} {
		for _, side := range []int{first, 1 - first} {
			if s.at[side] != nil && can(side) {
				return side, true
			}
		}
	}
	earliest := -1
	for side, c := range s.at {
		if c != nil && c.deadline != noDeadline && (earliest < 0 || c.deadline < s.at[earliest].deadline) {
			earliest = side
		}
	}
	if earliest < 0 {
		return 0, false
	}
	s.clock.Store(int64(s.at[earliest].deadline))
	s.at[earliest].deadline = passed
	return earliest, true
}

// ready reports whether the side's call does not block.
func (s *schedule) ready(side int) bool {
	c := s.at[side]
	if c.deadline == passed {
		return true
	}
	switch c.kind {
	case callRead:
		ok, _ := s.wire.readable(side)
		return ok || len(c.buf) == 0
	case callWrite:
		return !c.started || s.wire.wrote(side)
	case callBegin:
		return s.begun[1-side] || s.ended[1-side]
	case callWait:
		return false
	}
	return true
}

// waiting reports whether the side waits for nothing but that its peer stands still. A side whose peer is blocked in its
// handshake begins: it may be about to read what the peer is blocked on.
func (s *schedule) waiting(side int) bool {
	kind := s.at[side].kind
	return kind == callWait || kind == callBegin
}

// grant does the side's call, as far as it goes.
func (s *schedule) grant(side int) {
	c := s.at[side]
	switch c.kind {
	case callRead:
		switch {
		case c.deadline == passed:
			c.err = os.ErrDeadlineExceeded
		case len(c.buf) > 0:
			c.n, c.err = s.wire.read(side, c.buf)
		}
	case callWrite:
		if c.deadline == passed && !c.started {
			c.err = os.ErrDeadlineExceeded
			break
		}
		if !c.started {
			c.started = true
			s.wire.startWrite(side, c.buf)
		}
		if !s.wire.wrote(side) && c.deadline != passed {
			return
		}
		if s.endWrite(side, c); c.n < len(c.buf) && c.err == nil {
			c.err = os.ErrDeadlineExceeded
		}
	case callCloseWrite:
		c.err = s.wire.closeWrite(side)
	case callClose:
		c.err = s.wire.close(side)
	}
	if c.err != nil && c.err != io.EOF {
		c.err = &net.OpError{Op: string(c.kind), Net: "granted", Err: c.err}
	}
	s.at[side] = nil
}

func (s *schedule) endWrite(side int, c *call) {
	left, err := s.wire.endWrite(side)
	c.n, c.err = len(c.buf)-left, err
}

// stop ends both sides after a deadlock: each call fails from now on.
func (s *schedule) stop() error {
	s.stopped.Store(true)
	if s.tape != nil {
		for side, c := range s.at {
			if c != nil {
				s.tape.stuck(side, "waits in "+string(c.kind))
			}
		}
		s.tape.stop()
	}
	for range maxCalls {
		for side, c := range s.at {
			if c != nil {
				if c.started {
					s.endWrite(side, c)
				}
				c.err = net.ErrClosed
				s.at[side] = nil
			}
		}
		if s.ended[0] && s.ended[1] {
			return nil
		}
		if err := s.advance(); err != nil {
			return err
		}
	}
	return fmt.Errorf("a side does not end when its transport is closed: %s", s.describe())
}

// describe says where the sides stand.
func (s *schedule) describe() string {
	text := ""
	for side, c := range s.at {
		if side > 0 {
			text += ", "
		}
		if c == nil {
			text += "the " + sideNames[side] + " has ended"
		} else {
			text += "the " + sideNames[side] + " waits in " + string(c.kind)
		}
	}
	return text
}
