package torture

import (
	"crypto/tls"
	"fmt"
)

const (
	// lockstepBytes is what a lockstep run uploads after its handshake.
	lockstepBytes = 1 << 10

	// maxLockstepRead is the largest read of the sweep: larger than the flights that follow the certificates.
	maxLockstepRead = 2048
)

func lockstepHandshake() Scenario {
	return Scenario{
		Name:         "lockstep-handshake",
		About:        "both ends under test; reads of 1 to 2048 bytes (each of them if there are 512 runs), with and without a client certificate",
		Reports:      []string{"golang/go#71269", "python-trio/trio#819"},
		Threat:       Blocking,
		On:           on(0, "lockstep"),
		TrialsPerRun: 8,
		setup: func(t *trial) {
			t.maxRead = sweep(t, maxLockstepRead, 2)
			t.knobs = fmt.Sprintf("reads of at most %d bytes", t.maxRead)
			if t.index%2 == 1 {
				t.serverConfig.ClientAuth = tls.RequestClientCert
				t.knobs += ", client certificate"
			}
		},
		client: func(s *side) error { return uploadOver(s, s.underTest(), lockstepBytes) },
		server: reader,
	}
}

// sweep picks a value from 1 to limit such that the trials of a row cover that range evenly in each of several ways,
// which the trials take in turn. With enough trials they take every value in each way.
func sweep(t *trial, limit, ways int) int {
	steps := max(1, t.of/ways)
	step := t.index / ways % steps
	from, to := step*limit/steps, (step+1)*limit/steps
	if to <= from {
		return from + 1
	}
	return from + 1 + t.random().IntN(to-from)
}
