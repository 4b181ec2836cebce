package torture

import "fmt"

// halfBytes is what either side sends where each ends its half in turn.
const halfBytes = 48 << 10

func halfClose() Scenario {
	return Scenario{
		Name:  "half-close",
		About: "both ends under test; the client sends and ends its half, then the server does",
		On:    alsoOn("tcp", "tcp-small", "pipe-strict", "pipe-linux", "segments", "clogged"),

		Threat: DataLoss,
		client: tested(func(s *side) error { return inTurn(s, s.sendHalf, s.receiveAll) }),
		server: tested(func(s *side) error { return inTurn(s, s.receiveAll, s.sendHalf) }),
	}
}

func (s *side) sendHalf() error {
	if err := s.send(min(s.trial.size, halfBytes)); err != nil {
		return err
	}
	return s.closeWrite()
}

func inTurn(s *side, steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return s.closeAfterPeer()
}

// raceBytes fits into every buffer.
const raceBytes = 2 << 10

func closeRace() Scenario {
	return Scenario{
		Name: "close-race",
		About: "both ends under test; when either has all that the other sent, both close at the same time; " +
			"in odd trials one closes when the other's Close has returned",
		Reports:      []string{"python-trio/trio#819"},
		Threat:       DataLoss,
		On:           alsoOn("tcp", "delayed", "pipe-strict", "pipe-linux"),
		TrialsPerRun: 2,
		client:       func(s *side) error { return race(s, s.send, s.receive) },
		server:       func(s *side) error { return race(s, s.receive, s.send) },
	}
}

func race(s *side, first, second func(int64) error) error {
	if err := s.begin(s.underTest()); err != nil {
		return err
	}
	if err := first(raceBytes); err != nil {
		return err
	}
	if err := second(raceBytes); err != nil {
		return err
	}
	s.meet()
	if order := s.trial.index % 4; order == 1 && s == s.trial.client || order == 3 && s == s.trial.server {
		s.outlast()
	}
	return s.closeAfterPeer()
}

// downloadBytes is the most that a whole download has.
const downloadBytes = 256 << 10

func download() Scenario {
	return Scenario{
		Name:   "download",
		About:  "both ends under test; the server sends and closes, the client reads to the end",
		Threat: DataLoss,
		On:     alsoOn("tcp", "tcp-small", "delayed", "pipe-strict", "pipe-linux", "segments", "trickle", "clogged"),
		client: tested(readToEnd),
		server: func(s *side) error {
			if err := s.begin(s.underTest()); err != nil {
				return err
			}
			if err := s.send(min(s.trial.size, downloadBytes)); err != nil {
				return err
			}
			return s.close()
		},
	}
}

func abortMidDownload() Scenario {
	return Scenario{
		Name:   "abort-mid-download",
		About:  "the server gives up in the middle of a download, as well as its stack can say so; the client must be told",
		Threat: FalseReport,
		On:     on(0, "tcp", "pipe-strict", "pipe-linux", "clogged"),
		client: func(s *side) error {
			if err := s.begin(s.anyClient()); err != nil {
				return err
			}
			return readToEnd(s)
		},
		server: func(s *side) error {
			if err := s.begin(s.underTest()); err != nil {
				return err
			}
			if err := s.send(min(s.trial.size, brokenBytes)); err != nil {
				return err
			}
			return s.abort()
		},
		oracle: clientIsTold,
	}
}

// brokenBytes is how much of a download comes before its end does.
const brokenBytes = 96 << 10

// clientIsTold is the oracle of downloads that the server breaks off: the client has all that was sent, and is told that
// it is not all.
func clientIsTold(client, server told) Verdict {
	if v := panicked(client, server); v.Class != OK {
		return v
	}
	if client.err == nil {
		return Verdict{Class: SilentLoss, Detail: fmt.Sprintf("the client read %d bytes of a stream that was broken off, and was told success", client.received)}
	}
	if client.received < server.sent && server.err == nil {
		return Verdict{Class: Lost, LostBytes: server.sent - client.received,
			Detail: fmt.Sprintf("the client read %d of %d bytes, then %s", client.received, server.sent, outcome(client.err))}
	}
	if server.err != nil {
		return Verdict{Class: WrongError, Detail: "the server was told " + outcome(server.err)}
	}
	return Verdict{}
}

func truncatedDownload() Scenario {
	return Scenario{
		Name:    "truncated-download",
		About:   "a FIN without close_notify, between two records: a client under test must be told",
		Reports: []string{"rust-openssl/rust-openssl#1803"},
		Threat:  FalseReport,
		On:      on(0, "tcp", "pipe-strict", "lockstep", "segments"),
		client:  tested(readToEnd),
		server:  func(s *side) error { return breakOff(s, func(p *puppet) error { return p.fin() }) },
		oracle:  clientIsTold,
	}
}

func truncatedRecord() Scenario {
	return Scenario{
		Name:  "truncated-record",
		About: "the same with a FIN inside a record, and in odd trials a reset instead",
		// crypto/tls reports both.
		On:           alsoOn("tcp", "pipe-linux", "segments"),
		Threat:       FalseReport,
		TrialsPerRun: 2,
		client:       tested(readToEnd),
		server: func(s *side) error {
			return breakOff(s, func(p *puppet) error {
				if err := p.sendPart(1+s.trial.random().IntN(1000), data(make([]byte, 1000))); err != nil {
					return err
				}
				s.settle() // the client has all that came before
				if s.trial.index%2 == 1 {
					return p.reset()
				}
				return p.fin()
			})
		},
		oracle: clientIsTold,
	}
}

// tested begins a script with a handshake of the stack under test.
func tested(script func(*side) error) func(*side) error {
	return func(s *side) error {
		if err := s.begin(s.underTest()); err != nil {
			return err
		}
		return script(s)
	}
}

// breakOff is a server that sends a part of its stream, and then ends it in a bad way.
func breakOff(s *side, end func(*puppet) error) error {
	p := s.scripted()
	if err := s.begin(p); err != nil {
		return err
	}
	if err := s.send(min(s.trial.size, brokenBytes)); err != nil {
		return err
	}
	if err := s.do("break off", func() error { return end(p) }); err != nil {
		return err
	}
	// What the client still says is of no interest.
	return s.do("wait for the client's end", func() error {
		for {
			if _, err := p.next(); err != nil {
				return nil
			}
		}
	})
}
