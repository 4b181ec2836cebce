package torture

import "slices"

const (
	// updateEvery is how many bytes of an upload follow each KeyUpdate request.
	updateEvery = 64 << 10

	// floodShare is the part of a plan's size that a flood sends: each byte of it takes two records.
	floodShare = 512
)

func uploadKeyUpdate() Scenario {
	return Scenario{
		Name:   "upload-key-update",
		About:  "no tickets; the client requests a KeyUpdate before its data and every 64 KiB, writes, closes and never reads",
		Threat: DataLoss,
		On:     slices.Concat(on(256<<10, "tcp"), on(64<<10, "pipe-strict"), on(128<<10, "pipe-linux")),
		setup:  noTickets,
		client: func(s *side) error {
			return uploadOver(s, updatingPuppet(s, updateEvery), s.trial.size)
		},
		slowReader: true,
		server:     reader,
	}
}

func keyUpdateFlood() Scenario {
	return Scenario{
		Name: "key-update-flood",
		About: "no tickets; the client sends one byte and one KeyUpdate request for each 512 bytes of size before it reads the reply; " +
			"more answers in a row than peers take are a wrong error",
		Reports: []string{"yandex/odyssey#1459"},
		Threat:  Blocking,
		On:      slices.Concat(on(512<<10, "tcp-small"), on(768<<10, "pipe-strict", "pipe-linux")),
		setup:   noTickets,
		client: func(s *side) error {
			p := updatingPuppet(s, 1)
			if err := s.begin(p); err != nil {
				return err
			}
			if err := s.send(floodBytes(s)); err != nil {
				return err
			}
			if err := s.receive(replyBytes); err != nil {
				return err
			}
			if err := s.send(1); err != nil { // with a request, whose answer the server's end brings along
				return err
			}
			if err := s.closeWrite(); err != nil {
				return err
			}
			if err := s.receiveAll(); err != nil {
				return err
			}
			return s.do("finish", p.finish)
		},
		server: func(s *side) error { return respond(s, floodBytes(s)) },
	}
}

func floodBytes(s *side) int64 { return max(1, s.trial.size/floodShare) }

const (
	// bothSidesBytes is the most that a side sends which reads meanwhile, and bothSidesEvery how often a puppet requests.
	bothSidesBytes = 64 << 10
	bothSidesEvery = 1 << 10
)

func keyUpdateBothSides() Scenario {
	client, server := eitherWay(
		func(s *side) error { return duplex(s, s.underTest(), false) },
		func(s *side) error {
			p := s.scripted()
			p.updateEvery = bothSidesEvery
			return duplex(s, p, false)
		},
	)
	return Scenario{
		Name:         "key-update-both-sides",
		About:        "both sides write and read at once; one requests a KeyUpdate every 1 KiB, the other, under test, answers between its own data",
		Reports:      []string{"openssl/openssl#8677", "openssl/openssl#12485"},
		Threat:       Blocking,
		On:           alsoOn("tcp", "pipe-strict", "pipe-linux", "clogged"),
		TrialsPerRun: 2,
		setup: func(t *trial) {
			noTickets(t)
			namePuppet(t)
		},
		client: client,
		server: server,
	}
}

// duplex sends and receives at the same time, and ends the stream when both are done. A patient side begins to read when
// its Write waits, and needs it.
func duplex(s *side, conn Conn, patient bool) error {
	if err := s.begin(conn); err != nil {
		return err
	}
	n := min(s.trial.size, bothSidesBytes)
	sent := make(chan struct{})
	err := s.both(func() error {
		defer close(sent)
		return s.send(n)
	}, func() error {
		if patient {
			s.awaitStill(sent)
		}
		return s.receive(n)
	})
	if err != nil {
		return err
	}
	s.meet()
	return s.closeAfterPeer()
}

// eitherWay makes the server the stack under test and the client the puppet in even trials, and the reverse in odd ones.
func eitherWay(underTest, puppet func(*side) error) (client, server func(*side) error) {
	choose := func(parity int) func(*side) error {
		return func(s *side) error {
			if s.trial.index%2 == parity {
				return underTest(s)
			}
			return puppet(s)
		}
	}
	return choose(1), choose(0)
}

func namePuppet(t *trial) {
	t.knobs = "the client is the puppet"
	if t.index%2 == 1 {
		t.knobs = "the server is the puppet"
	}
}

func noTickets(t *trial) {
	t.serverConfig.SessionTicketsDisabled = true
	t.clientConfig.ClientSessionCache = nil
}

// updatingPuppet is a client that requests a KeyUpdate before its data, and after each so many bytes of it.
func updatingPuppet(s *side, every int) *puppet {
	p := newPuppet(s.transport, s.trial.clientConfig)
	p.updateEvery = every
	return p
}
