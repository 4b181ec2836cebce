package torture

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// Steps that only some scripts need.

// underTest makes this side's end of the stream with the stack under test.
func (s *side) underTest() Conn {
	if s == s.trial.client {
		return s.trial.stack.Client(s.transport, s.trial.clientConfig)
	}
	return s.trial.stack.Server(s.transport, s.trial.serverConfig)
}

// anyClient makes a client as most programs have it: it reads one record at a time.
func (s *side) anyClient() Conn {
	return tls.Client(&exactReader{Conn: s.transport}, s.trial.clientConfig)
}

// anyServer makes a server for a client under test. It reads one record at a time, and sends tickets.
func (s *side) anyServer() Conn {
	return tls.Server(&exactReader{Conn: s.transport}, s.trial.serverConfig)
}

// scripted makes this side a puppet.
func (s *side) scripted() *puppet {
	if s == s.trial.client {
		return newPuppet(s.transport, s.trial.clientConfig)
	}
	return newPuppetServer(s.transport, s.trial.serverConfig)
}

// closeWrite ends this side's half of the stream. A stack without a CloseWrite is not judged.
func (s *side) closeWrite() error {
	half, ok := s.conn.(interface{ CloseWrite() error })
	if !ok {
		return notHere(fmt.Sprintf("%T has no CloseWrite", s.conn))
	}
	return s.do("close write", half.CloseWrite)
}

// abort ends the stream such that the peer learns of a failure, if the stack has a way to do so.
func (s *side) abort() error {
	return s.do("abort", func() error {
		switch conn := s.conn.(type) {
		case interface{ Abort(tlsstream.Alert) error }:
			return conn.Abort(tlsstream.AlertInternalError)
		case interface{ Abort() error }:
			return conn.Abort()
		}
		if _, ours := tlsstream.StatsOf(s.conn); ours {
			return tlsstream.Abort(s.conn, tlsstream.AlertInternalError)
		}
		return s.conn.Close()
	})
}

// both runs two steps at once, for a stream that is written and read at the same time.
func (s *side) both(f, g func() error) error {
	failed := make(chan error, 2)
	for _, f := range []func() error{f, g} {
		go func() {
			err := s.caught(f)
			if err != nil {
				s.transport.Close() // or the other might wait for ever
			}
			failed <- err
		}()
	}
	first, second := <-failed, <-failed
	if first == nil {
		return second
	}
	return first
}

// meet waits until the peer's script has come to the same point.
func (s *side) meet() {
	s.step.Store(new("wait for the peer's script"))
	close(s.arrived)
	select {
	case <-s.peer.arrived:
	case <-s.peer.done:
	case <-s.trial.stopped:
	}
}

// outlast waits until the peer's script has returned.
func (s *side) outlast() {
	s.step.Store(new("wait for the peer to close"))
	select {
	case <-s.peer.done:
	case <-s.trial.stopped:
	}
}

// A panicError is a panic of a stack's.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// caught turns a panic into an error: one of a stack's must not end the whole plan.
func (s *side) caught(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return f()
}

// panicked is the verdict on a run in which a stack has panicked; OK if none has.
func panicked(client, server told) Verdict {
	for _, t := range []told{client, server} {
		if p, ok := errors.AsType[*panicError](t.err); ok {
			return Verdict{Class: WrongError, Detail: p.Error(), Stacks: string(p.stack)}
		}
	}
	return Verdict{}
}

// isTimeout reports whether a deadline has passed.
func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
