package torture

import (
	"errors"
	"net"
	"time"
)

// Deadlines that have passed, set while the call waits, do not depend on any clock.
var past = time.Unix(1, 0)

const (
	deadlineBytes  = 96 << 10
	deadlineRounds = 4
)

func writeDeadline() Scenario {
	return Scenario{
		Name:    "write-deadline",
		About:   "a client under test is stopped by its write deadline in the middle of a record, gets a new one, and goes on",
		Reports: []string{"golang/go#29971", "golang/go#13828"},
		Threat:  FalseReport,
		On:      on(deadlineBytes, "tcp-small", "pipe-strict", "pipe-linux"),
		setup:   noTickets,
		client: tested(func(s *side) error {
			s.meet()
			if err := s.sendPastDeadlines(max(s.trial.size, deadlineBytes)); err != nil {
				return err
			}
			return s.close()
		}),
		server: func(s *side) error {
			if err := s.begin(s.anyServer()); err != nil {
				return err
			}
			s.meet() // a deadline in the handshake is final everywhere
			for range deadlineRounds {
				s.settle() // until the client waits in the middle of a record
				s.stopPeer(s.peer.conn.SetWriteDeadline)
				s.settle()
				if err := s.receive(chunkBytes); err != nil {
					return err
				}
			}
			return readToEnd(s)
		},
	}
}

// sendPastDeadlines sends n bytes. A deadline that stops it is taken away, and it goes on behind what Write accepted.
func (s *side) sendPastDeadlines(n int64) error {
	buf := make([]byte, chunkBytes)
	return s.do("write", func() error {
		for n > 0 {
			chunk := buf[:min(n, int64(len(buf)))]
			s.out.Read(chunk)
			n -= int64(len(chunk))
			for stops := 0; len(chunk) > 0; {
				written, err := s.conn.Write(chunk)
				s.told.sent += int64(written)
				chunk = chunk[written:]
				if err == nil {
					continue
				}
				if stops++; !isTimeout(err) || stops > deadlineRounds {
					if op, ok := errors.AsType[*net.OpError](err); ok {
						return op // crypto/tls wraps it, and its addresses are not to be seen
					}
					return err
				}
				if err := s.goOn(s.conn.SetWriteDeadline); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func readDeadline() Scenario {
	return Scenario{
		Name:    "read-deadline",
		About:   "a server under test is stopped by its read deadline in the middle of a record, gets a new one, and goes on",
		Reports: []string{"golang/go#13828"},
		Threat:  DataLoss,
		On:      alsoOn("tcp", "pipe-strict", "segments"),
		setup:   noTickets,
		client: func(s *side) error {
			p := s.scripted()
			if err := s.begin(p); err != nil {
				return err
			}
			s.meet()
			random := s.trial.random()
			for range deadlineRounds {
				content := make([]byte, 1000)
				s.out.Read(content)
				flight, err := p.seal(data(content))
				if err != nil {
					return err
				}
				cut := 1 + random.IntN(len(flight)-1)
				if err := s.do("write a part", func() error { return p.send(garbage(flight[:cut])) }); err != nil {
					return err
				}
				s.settle() // until the server waits for the rest
				s.stopPeer(s.peer.conn.SetReadDeadline)
				if err := s.do("write the rest", func() error { return p.send(garbage(flight[cut:])) }); err != nil {
					return err
				}
				s.told.sent += int64(len(content))
			}
			return s.close()
		},
		server: tested(func(s *side) error {
			s.meet()
			stops := 0
			for {
				err := s.receiveAll()
				if err == nil {
					break
				}
				if stops++; !isTimeout(err) || stops > deadlineRounds {
					return err
				}
				if err := s.goOn(s.conn.SetReadDeadline); err != nil {
					return err
				}
			}
			if stops == 0 {
				return errors.New("no deadline stopped the read")
			}
			return s.closeAfterPeer()
		}),
	}
}

// stopPeer sets a deadline of the peer's that has passed, and waits until it has stopped the peer.
func (s *side) stopPeer(set func(time.Time) error) {
	s.step.Store(new("wait for a deadline"))
	set(past)
	select {
	case <-s.peer.stopped:
	case <-s.peer.done:
	case <-s.trial.stopped:
	}
}

// goOn takes away the deadline that has stopped this side.
func (s *side) goOn(set func(time.Time) error) error {
	err := set(time.Time{})
	select {
	case s.stopped <- struct{}{}:
	default: // the peer has not set that deadline, but crypto/tls repeats what it has said
	}
	return err
}
