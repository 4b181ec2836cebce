package bench

import (
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// The program in C plays either part, against itself and against crypto/tls.
func TestOpenSSLAtEitherEnd(t *testing.T) {
	report := mustRun(t, Plan{
		Scenarios: named(t, "bulk-64KiB", "one-way-100B", "ping-pong-4KiB", "handshake-full"), Stacks: []Stack{openssl()},
		Sides: []Side{Both, ClientSide, ServerSide}, Connections: []int{3}, Rounds: 1, Slice: time.Millisecond,
	})
	for _, note := range report.Notes {
		tlstest.Missing(t, "%s", note)
	}
	const (
		scenarios = 3 // it cannot make handshakes
		stacks    = 5 // the baseline, the control, and a variant for each side
	)
	if got, want := len(report.Rows), scenarios*stacks; got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
	for _, row := range report.Rows {
		if row.Error != "" || row.Rounds != 1 || row.Rate <= 0 || row.ClientCPU <= 0 || row.ServerCPU <= 0 {
			t.Errorf("%+v", row)
		}
	}
}

// Where there is no compiler the others are measured all the same.
func TestOpenSSLIsSkippedWithoutCompiler(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	report := mustRun(t, Plan{Scenarios: named(t, "ping-pong-1B"), Stacks: []Stack{openssl(), slowToy()}, Rounds: 1, Slice: time.Millisecond})
	if len(report.Notes) != 1 || len(report.Rows) != 3 || report.Failed() {
		t.Errorf("%+v", report)
	}
}
