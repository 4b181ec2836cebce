package torture

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/utlspeer"
)

// A family that fell back to TLS 1.2 would be sent no ticket out of turn, and would prove nothing.
func TestUTLSFamiliesNegotiateTLS13(t *testing.T) {
	id, err := newIdentity(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range UTLS() {
		t.Run(stack.Name, func(t *testing.T) {
			server, client := id.configs()
			server.MinVersion, client.MinVersion = tls.VersionTLS12, tls.VersionTLS12
			a, b, err := dialTCP(0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			defer b.Close()
			s := tls.Server(b, server)
			shaken := make(chan error, 1)
			go func() { shaken <- s.Handshake() }()
			c := stack.Client(a, client)
			if err := c.Handshake(); err != nil {
				t.Error(err)
				a.Close()
			}
			if err := <-shaken; err != nil {
				t.Fatal(err)
			}
			if got := s.ConnectionState().Version; got != tls.VersionTLS13 {
				t.Errorf("negotiated %s", tls.VersionName(got))
			}
		})
	}
}

// Every family's upload is lost by crypto/tls and kept by our servers.
func TestUTLSUploads(t *testing.T) {
	families := utlspeer.Families()
	report, err := Run(t.Context(), Plan{
		Stacks:    []Stack{Stdlib(), Tlsstream(), TlsstreamListener()},
		Scenarios: scenarioNamed(t, "upload-utls"),
		Networks:  networksNamed(t, "pipe-strict", "pipe-linux"),
		Runs:      len(families) / uploadUTLS().TrialsPerRun,
	})
	if err != nil {
		t.Fatal(err)
	}
	lost := map[string]int{}
	for _, row := range report.Rows {
		lost[row.Network+" "+row.Stack] = row.LostRuns
	}
	all := len(families)
	want := map[string]int{
		"pipe-strict stdlib": all, "pipe-strict tlsstream": 0, "pipe-strict tlsstream-listener": 0,
		"pipe-linux stdlib": all, "pipe-linux tlsstream": 0, "pipe-linux tlsstream-listener": 0,
	}
	if diff := cmp.Diff(want, lost); diff != "" {
		t.Errorf("lost runs, -want +got:\n%s", diff)
	}
}

// Over a transport without buffers no utls client over our layer ever blocks. Both ends as they come do.
func TestUTLSNeverBlocksInLockstep(t *testing.T) {
	report, err := Run(t.Context(), Plan{
		Stacks: UTLS(),
		Controls: []Stack{{
			Name:   "utls-stock",
			Server: Stdlib().Server,
			Client: func(conn net.Conn, config *tls.Config) Conn {
				return utlspeer.Client(conn, config, utlspeer.Families()[0].ID)
			},
		}},
		Scenarios: scenarioNamed(t, "lockstep-handshake"),
		Runs:      4,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if failed := row.DeadlockedRuns > 0; failed != (row.Role == Control) || row.FailedRuns() > row.DeadlockedRuns {
			t.Errorf("%s: %d of %d runs blocked, %d failed: %v", row.Stack, row.DeadlockedRuns, row.Trials, row.FailedRuns(), row.FirstFailure)
		}
	}
}
