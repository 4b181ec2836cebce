package bench

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// The program in C plays either part, against itself and against crypto/tls.
func TestOpenSSLAtEitherEnd(t *testing.T) {
	report := mustRun(t, Plan{
		Scenarios: named(t, "bulk-64KiB", "one-way-100B", "ping-pong-4KiB", "handshake-full", "idle-handshake"), Stacks: []Stack{openssl()},
		Sides: []Side{Both, ClientSide, ServerSide}, Connections: []int{3}, Rounds: 1, Slice: time.Millisecond,
	})
	if len(report.Notes) == 0 || report.Notes[0] != "openssl does not play handshake-full, idle-handshake" {
		t.Errorf("no note of what it cannot play: %q", report.Notes)
	}
	for _, note := range report.Notes[min(1, len(report.Notes)):] {
		tlstest.Missing(t, "%s", note)
	}
	const (
		scenarios = 3 // it plays the others not
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

// If nobody is left there is no report of nothing, which would look like success.
func TestNothingLeftIsAnError(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Run(t.Context(), Plan{Scenarios: named(t, "ping-pong-1B"), Stacks: []Stack{openssl()}, Rounds: 1, Slice: time.Millisecond})
	if nothing, ok := errors.AsType[*NothingError](err); !ok || !strings.Contains(nothing.Why, "openssl is skipped") {
		t.Errorf("%v", err)
	}
}

// Whole groups are named by their name.
func TestUnplayedScenariosAreTold(t *testing.T) {
	plan := Plan{Stacks: []Stack{openssl()}, Terminators: []Terminator{}}
	if err := plan.complete(); err != nil {
		t.Fatal(err)
	}
	want := []string{"openssl does not play handshake, idle, growth", "without a terminator nothing plays terminator"}
	if diff := cmp.Diff(want, plan.unplayed()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
