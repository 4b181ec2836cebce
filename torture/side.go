package torture

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// A side is one end of a run, as its script sees it. A script runs on a goroutine of its own and calls the methods
// below; each of them is a step, and the watchdog reads the name of the present one.
type side struct {
	name      string // "client" or "server"
	transport metered
	trial     *trial
	peer      *side

	// conn is the TLS stream. The script makes it with begin.
	conn Conn

	// out and in generate what this side sends and what it expects to receive.
	out, in io.Reader
	inSeed  [32]byte // of in

	step atomic.Pointer[string]

	stuck bool // the trial was stopped while the script waited

	told told          // valid once done is closed
	done chan struct{} // the script has returned and the transport is closed

	arrived chan struct{} // closed by meet
	stopped chan struct{} // has room for one; a deadline has stopped this side
}

const (
	chunkBytes = 16 << 10 // what one Write or Read of a script moves at most: a full TLS record

	pause     = "pause" // the step that settle is
	closeStep = "close" // the step that has a bound

	// settleTicks is how many ticks a peer over TCP must have been still, inside a call of its transport, to count as
	// waiting.
	settleTick  = time.Millisecond
	settleTicks = 3

	// drySettleTicks is how many ticks a server must have waited in a read, after all was sent, to count as having
	// read it. A program may be slow to pass on what it has.
	drySettleTicks = 100
)

func newSide(name string, t *trial, transport net.Conn, out, in [32]byte) *side {
	s := &side{
		name:      name,
		transport: newMetered(transport, t.network.sendBuffer),
		trial:     t,
		out:       rand.NewChaCha8(out),
		in:        rand.NewChaCha8(in),
		inSeed:    in,
		done:      make(chan struct{}),
		arrived:   make(chan struct{}),
		stopped:   make(chan struct{}, 1),
	}
	s.step.Store(new("start"))
	return s
}

// play runs the script to its end.
func (s *side) play(script func(*side) error) {
	defer close(s.done)
	defer s.transport.Close()
	s.told.err = s.caught(func() error { return script(s) })
	if s.told.err != nil && s.conn != nil {
		// An application that meets an error closes. What that says adds nothing to the first error.
		s.caught(func() error { return s.do(closeStep, s.conn.Close) })
	}
}

// do runs one step.
func (s *side) do(step string, f func() error) error {
	s.enter(step)
	defer s.leave()
	if err := f(); err != nil {
		return stepError(step, err)
	}
	return nil
}

// begin makes the TLS stream and runs the handshake.
func (s *side) begin(conn Conn) error {
	s.conn = conn
	return s.do("handshake", conn.Handshake)
}

// send writes the next n bytes of this side's stream.
func (s *side) send(n int64) error {
	buf := make([]byte, chunkBytes)
	return s.do("write", func() error {
		for n > 0 {
			chunk := buf[:min(n, int64(len(buf)))]
			s.out.Read(chunk)
			written, err := s.conn.Write(chunk)
			s.told.sent += int64(written)
			if err != nil {
				return err
			}
			n -= int64(len(chunk))
		}
		return nil
	})
}

var errEarlyEnd = errors.New("end of stream before all had come")

// receive reads n bytes of the peer's stream.
func (s *side) receive(n int64) error {
	buf := make([]byte, chunkBytes)
	for n > 0 {
		got, err := s.read(buf[:min(n, int64(len(buf)))])
		n -= int64(got)
		if n > 0 && err == io.EOF {
			err = errEarlyEnd
		}
		if err != nil && err != io.EOF {
			return stepError("read", err)
		}
	}
	return nil
}

// receiveAll reads to the end of the stream. A slow reader lets the peer write as long as the peer can, and reads only
// when the peer waits for it.
func (s *side) receiveAll() error {
	buf := make([]byte, chunkBytes)
	for {
		if s.trial.scenario.slowReader && s == s.trial.server {
			s.settle()
		}
		if _, err := s.read(buf); err == io.EOF {
			return nil
		} else if err != nil {
			return stepError("read", err)
		}
	}
}

var errCorrupted = errors.New("read bytes that were not sent")

// read does one Read and compares what it returned with what the peer must have sent.
func (s *side) read(buf []byte) (n int, err error) {
	s.enter("read")
	n, err = s.conn.Read(buf)
	s.leave()
	if n == 0 && err == nil {
		select {
		case <-s.trial.stopped: // a stack that says so for ever must not keep a processor for the rest of the plan
			err = net.ErrClosed
		default:
		}
	}
	expected := make([]byte, n)
	s.in.Read(expected)
	if bytes.Equal(buf[:n], expected) {
		s.told.received += int64(n)
		s.told.ended = s.told.ended || err == io.EOF
		return n, err
	}
	right := 0
	for buf[right] == expected[right] {
		right++
	}
	s.told.received += int64(right)
	s.told.corrupted = true
	s.told.wrong = s.sample(buf[right:n])
	return n, errCorrupted
}

// close ends the stream.
func (s *side) close() error {
	return s.do(closeStep, s.conn.Close)
}

// closeAfterPeer ends the stream towards a peer that may have gone already. What Close says then is about a
// close_notify that nobody waits for, so it is not a failure.
func (s *side) closeAfterPeer() error {
	s.do(closeStep, s.conn.Close)
	return nil
}

// settle waits until the peer's script has returned, or until the peer waits for this side.
func (s *side) settle() {
	defer s.step.Store(s.step.Load())
	s.step.Store(new(pause))
	s.peer.awaitStill(s.peer.done)
}

// awaitStill waits until the side waits for its peer, or has ended.
func (s *side) awaitStill(ended <-chan struct{}) {
	tick := time.NewTicker(settleTick)
	defer tick.Stop()
	last, still := s.trial.moves(), 0
	for {
		select {
		case <-ended:
			return
		case <-s.trial.stopped:
			return
		case <-tick.C:
		}
		if waits, known := s.transport.waits(); known {
			if waits {
				return
			}
			continue
		}
		now := s.trial.moves()
		if now != last || s.transport.watched().where() == "" {
			last, still = now, 0
			continue
		}
		if still++; still == settleTicks {
			return
		}
	}
}

// awaitPause waits until the peer's script has returned, or pauses. A client that closes while its server is in the
// middle of a read would leave to the scheduler how much of its queue the reset destroys. A server that has read all
// that was sent does not pause any more: where the scheduler made it take a Write that was done for one that waited.
func (s *side) awaitPause() {
	s.step.Store(new("wait for a pause"))
	tick := time.NewTicker(settleTick)
	defer tick.Stop()
	last, still := s.trial.moves(), 0
	for *s.peer.step.Load() != pause {
		select {
		case <-s.peer.done:
			return
		case <-s.trial.stopped:
			return
		case <-tick.C:
		}
		if now := s.trial.moves(); now != last || s.peer.transport.watched().where() == "" {
			last, still = now, 0
			continue
		}
		if still++; still == drySettleTicks {
			return
		}
	}
}

// describe says where the side waits, in the words of a report.
func (s *side) describe() string {
	select {
	case <-s.done:
		return "the " + s.name + " has ended"
	default:
	}
	text := "the " + s.name + " waits in " + *s.step.Load()
	if where := s.transport.watched().where(); where != "" {
		text += " (" + where + ")"
	}
	return text
}
