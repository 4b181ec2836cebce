package torture

import "slices"

const (
	// replyBytes is what a server answers to a request.
	replyBytes = 1 << 10

	// requestBytes is the most that a request has, where its length does not matter.
	requestBytes = 128 << 10
)

func requestThenResponse() Scenario {
	return Scenario{
		Name:    "request-then-response",
		About:   "as HTTP/1.1: the client writes its whole request before it reads anything of the response",
		Reports: []string{"openssl/openssl#7967", "python-trio/trio#819"},
		Threat:  Blocking,
		On:      slices.Concat(on(0, "lockstep"), alsoOn("tcp-small", "tcp-sweep", "delayed", "pipe-strict", "clogged")),
		client: func(s *side) error {
			return request(s, s.anyClient(), min(s.trial.size, requestBytes))
		},
		server: func(s *side) error { return respond(s, min(s.trial.size, requestBytes)) },
	}
}

// request sends n bytes, and then reads the reply.
func request(s *side, conn Conn, n int64) error {
	if err := s.begin(conn); err != nil {
		return err
	}
	if err := s.send(n); err != nil {
		return err
	}
	if err := s.receive(replyBytes); err != nil {
		return err
	}
	return s.close()
}

// respond reads n bytes, and then sends the reply.
func respond(s *side, n int64) error {
	if err := s.begin(s.underTest()); err != nil {
		return err
	}
	if err := s.receive(n); err != nil {
		return err
	}
	if err := s.send(replyBytes); err != nil {
		return err
	}
	if err := s.receiveAll(); err != nil {
		return err
	}
	return s.closeAfterPeer()
}

// enoughBytes is how much of a request a server has read when it answers early.
const enoughBytes = 16 << 10

func earlyResponse() Scenario {
	return Scenario{
		Name: "early-response",
		About: "the server answers (413) and ends its half while the client still writes, then reads on to the end; " +
			"in odd trials the client requests KeyUpdates, and in every other of these it reads on to the FIN",
		Reports:      []string{"jetty/jetty.project#12079"},
		Threat:       DataLoss,
		On:           on(128<<10, "tcp", "pipe-strict", "pipe-linux"),
		TrialsPerRun: 2,
		slowReader:   true,
		setup:        noTickets,
		client: func(s *side) error {
			conn := s.anyClient()
			p := updatingPuppet(s, updateEvery)
			if s.trial.index%2 == 1 {
				conn = p
			}
			if err := s.begin(conn); err != nil {
				return err
			}
			if err := s.send(max(s.trial.size, enoughBytes)); err != nil {
				return err
			}
			if err := s.receiveAll(); err != nil {
				return err
			}
			if s.trial.index%4 < 3 {
				return s.close()
			}
			if err := s.closeWrite(); err != nil {
				return err
			}
			return s.do("finish", p.finish)
		},
		server: func(s *side) error {
			if err := s.begin(s.underTest()); err != nil {
				return err
			}
			if err := s.receive(enoughBytes); err != nil {
				return err
			}
			if err := s.send(replyBytes); err != nil {
				return err
			}
			if err := s.closeWrite(); err != nil {
				return err
			}
			if err := s.receiveAll(); err != nil {
				return err
			}
			return s.closeAfterPeer()
		},
	}
}

func earlyClose() Scenario {
	return Scenario{
		Name:    "early-close",
		About:   "the same, and the server closes at once: the client must see the answer or a failure, and nobody may hang",
		Reports: []string{"akka/akka-http#1439"},
		Threat:  FalseReport,
		On:      alsoOn("tcp", "pipe-strict", "pipe-linux", "clogged"),
		client: func(s *side) error {
			if err := s.begin(s.underTest()); err != nil {
				return err
			}
			if err := s.send(max(s.trial.size, 4*requestBytes)); err != nil {
				return err
			}
			if err := s.receiveAll(); err != nil {
				return err
			}
			return s.close()
		},
		server: func(s *side) error {
			if err := s.begin(s.underTest()); err != nil {
				return err
			}
			if err := s.receive(enoughBytes); err != nil {
				return err
			}
			if err := s.send(replyBytes); err != nil {
				return err
			}
			return s.closeAfterPeer()
		},
		oracle: func(client, server told) Verdict {
			// Over TCP, too, the reset that answers the rest of the request can overtake the reply.
			if client.err == nil && client.received < server.sent {
				return allArrives(client, server)
			}
			return panicked(client, server)
		},
	}
}

// rounds is how often ping-pong goes to and fro.
const rounds = 12

func pingPong() Scenario {
	return Scenario{
		Name:    "ping-pong",
		About:   "both ends under test; messages of 1 to 3000 bytes to and fro, in lockstep with reads of 1 to 2048 bytes",
		Reports: []string{"golang/go#71269"},
		Threat:  Blocking,
		On:      slices.Concat(on(0, "lockstep"), alsoOn("tcp", "tcp-small", "pipe-strict", "trickle", "clogged")),

		// Over lockstep crypto/tls passes with one read size of three.
		TrialsPerRun: 2,
		setup: func(t *trial) {
			if t.network.Name == "lockstep" {
				t.maxRead = sweep(t, maxLockstepRead, 1)
			}
		},
		client: func(s *side) error { return rally(s, s.send, s.receive) },
		server: func(s *side) error { return rally(s, s.receive, s.send) },
	}
}

// rally does the first step and then the second, in turn, with messages of the same sizes on both sides.
func rally(s *side, first, second func(int64) error) error {
	if err := s.begin(s.underTest()); err != nil {
		return err
	}
	random := s.trial.random()
	for range rounds {
		n := 1 + random.Int64N(3000)
		if err := first(n); err != nil {
			return err
		}
		if err := second(n); err != nil {
			return err
		}
	}
	if s == s.trial.client {
		return s.close()
	}
	if err := s.receiveAll(); err != nil {
		return err
	}
	return s.closeAfterPeer()
}

// firstWriteBytes fits into every buffer, with what TLS adds.
const firstWriteBytes = 1 << 10

func bothWriteFirst() Scenario {
	return Scenario{
		Name: "both-write-first",
		About: "both ends under test write before they read, less than the buffers hold; in odd trials more than they hold, " +
			"and each begins to read when its Write waits",
		Reports:      []string{"python-trio/trio#819"},
		Threat:       Blocking,
		On:           alsoOn("tcp", "tcp-small", "pipe-strict", "segments", "trickle"),
		TrialsPerRun: 2,
		client:       writeFirst,
		server:       writeFirst,
	}
}

func writeFirst(s *side) error {
	if s.trial.index%2 == 1 {
		return duplex(s, s.underTest(), true)
	}
	if err := s.begin(s.underTest()); err != nil {
		return err
	}
	if err := s.send(firstWriteBytes); err != nil {
		return err
	}
	if err := s.receive(firstWriteBytes); err != nil {
		return err
	}
	s.meet()
	return s.closeAfterPeer()
}
