package torture

import (
	"crypto/tls"
	"fmt"
)

const (
	// replyBytes is what the server answers in huge-ticket.
	replyBytes = 1 << 10

	// lockstepBytes is what a lockstep run uploads after its handshake.
	lockstepBytes = 1 << 10

	// maxLockstepRead is the largest read of the sweep: larger than the flights that follow the certificates.
	maxLockstepRead = 2048
)

func hugeTicket() Scenario {
	return Scenario{
		Name:   "huge-ticket",
		About:  "a large client certificate makes a ticket that exceeds the buffers; the client writes all before it reads the reply",
		Threat: Blocking,
		On:     []On{{Network: "tcp-small", MinSize: 64 << 10}, {Network: "pipe-strict", MinSize: 128 << 10}, {Network: "pipe-linux", MinSize: 128 << 10}},
		setup: func(t *trial) {
			t.serverConfig.ClientAuth = tls.RequireAnyClientCert
			t.clientConfig.Certificates = []tls.Certificate{t.identity.bigOne}
		},
		client: func(s *side) error {
			if err := s.begin(tls.Client(s.transport, s.trial.clientConfig)); err != nil {
				return err
			}
			if err := s.send(s.trial.size); err != nil {
				return err
			}
			if err := s.receive(replyBytes); err != nil {
				return err
			}
			return s.close()
		},
		server: func(s *side) error {
			if err := s.begin(s.trial.stack.Server(s.transport, s.trial.serverConfig)); err != nil {
				return err
			}
			if err := s.receive(s.trial.size); err != nil {
				return err
			}
			if err := s.send(replyBytes); err != nil {
				return err
			}
			if err := s.receiveAll(); err != nil {
				return err
			}
			return s.closeAfterPeer()
		},
	}
}

func lockstepHandshake() Scenario {
	return Scenario{
		Name:         "lockstep-handshake",
		About:        "both ends under test; reads of 1 to 2048 bytes (each of them if there are 512 runs), with and without a client certificate",
		Threat:       Blocking,
		On:           []On{{Network: "lockstep"}},
		TrialsPerRun: 8,
		setup: func(t *trial) {
			t.maxRead = sweep(t, maxLockstepRead)
			t.knobs = fmt.Sprintf("reads of at most %d bytes", t.maxRead)
			if t.index%2 == 1 {
				t.serverConfig.ClientAuth = tls.RequestClientCert
				t.knobs += ", client certificate"
			}
		},
		client: func(s *side) error {
			return uploadOver(s, s.trial.stack.Client(s.transport, s.trial.clientConfig), lockstepBytes)
		},
		server: reader,
	}
}

// sweep picks a value from 1 to limit such that the even trials of a row cover that range evenly, and so do the odd
// ones. With enough trials they take every value.
func sweep(t *trial, limit int) int {
	steps := max(1, t.of/2)
	step := t.index / 2 % steps
	from, to := step*limit/steps, (step+1)*limit/steps
	if to <= from {
		return from + 1
	}
	return from + 1 + t.random().IntN(to-from)
}
