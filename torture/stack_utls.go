package torture

import (
	"crypto/tls"
	"net"
	"slices"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/utlspeer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// UTLS returns a stack for each family of clients that utls imitates with TLS 1.3, "utls-chrome" among them. The client
// is utls over a transport that defers, the server is tlsstream's.
//
// They are not among [Stacks]: they differ from Tlsstream only in scenarios in which both ends are under test.
func UTLS() []Stack {
	var stacks []Stack
	for _, family := range utlspeer.Families() {
		stacks = append(stacks, Stack{
			Name:   "utls-" + family.Name,
			Server: func(conn net.Conn, config *tls.Config) Conn { return tlsstream.Server(conn, config) },
			Client: func(conn net.Conn, config *tls.Config) Conn {
				return utlspeer.Client(ticketdefer.WrapConn(conn), ticketdefer.WrapConfig(config), family.ID)
			},
			clientMayLose: true,
		})
	}
	return stacks
}

// uploadUTLS has clients of all families in turn, for what a server meets in practice is browsers, and what looks like
// one.
func uploadUTLS() Scenario {
	families := utlspeer.Families()
	return Scenario{
		Name:         "upload-utls",
		About:        "the upload of clients that utls makes look like browsers, each in turn",
		Threat:       DataLoss,
		On:           slices.Concat(on(256<<10, "tcp"), on(64<<10, "pipe-strict", "pipe-linux")),
		TrialsPerRun: 3, // so that TestStack meets each
		slowReader:   true,
		setup: func(t *trial) {
			t.knobs = "utls as " + families[t.index%len(families)].Name
		},
		client: func(s *side) error {
			family := families[s.trial.index%len(families)]
			return uploadOver(s, utlspeer.Client(&exactReader{Conn: s.transport}, s.trial.clientConfig, family.ID), s.trial.size)
		},
		server: reader,
	}
}
