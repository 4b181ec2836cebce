package torture

import (
	"crypto/tls"
	"slices"
)

// nestedBytes is the most that is uploaded through two layers of TLS.
const nestedBytes = 256 << 10

func tlsOverTLS() Scenario {
	return Scenario{
		Name:   "tls-over-tls",
		About:  "an upload as the first one, in TLS inside TLS, as through an HTTPS proxy: the inner tickets are the outer layer's data",
		Threat: DataLoss,
		On:     slices.Concat(on(256<<10, "tcp"), on(64<<10, "pipe-strict", "pipe-linux")),

		slowReader: true,
		setup: func(t *trial) {
			// Without it the inner ticket is in the same record of the outer layer as the end of the inner flight, so the
			// client has taken it from the kernel.
			t.serverConfig.ClientAuth = tls.RequestClientCert
		},
		client: func(s *side) error {
			outer := s.anyClient()
			if err := s.begin(outer); err != nil {
				return err
			}
			inner := tls.Client(&exactReader{Conn: outer}, s.trial.clientConfig)
			return uploadOver(s, inner, min(s.trial.size, nestedBytes))
		},
		server: func(s *side) error {
			outer := s.underTest()
			if err := s.begin(outer); err != nil {
				return err
			}
			if err := s.begin(s.trial.stack.Server(outer, s.trial.serverConfig)); err != nil {
				return err
			}
			return readToEnd(s)
		},
	}
}
