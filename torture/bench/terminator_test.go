package bench

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// The terminators built in are measured where they are installed, beside the stock one and its control.
func TestTerminators(t *testing.T) {
	report := mustRun(t, Plan{Scenarios: named(t, "terminator-16KiB"), Connections: []int{2}, Rounds: 1, Slice: time.Millisecond})
	for _, row := range report.Rows {
		if row.Error != "" || row.Rounds != 1 || row.Rate <= 0 || row.ServerCPU <= 0 && runtime.GOOS == "linux" {
			t.Errorf("%+v", row)
		}
	}
	report.row(t, Control, stdlibProxy)
	for _, note := range report.Notes {
		tlstest.Missing(t, "%s", note)
	}
}

// What does not run is told of, in its own words, and what is not there is left out.
func TestTerminatorThatFailsIsReported(t *testing.T) {
	shell := func(name, script string) Terminator {
		return Terminator{Name: name, Program: "sh", Command: func(Place) ([]string, error) { return []string{"-c", script}, nil }}
	}
	report := mustRun(t, Plan{
		Scenarios: named(t, "terminator-16KiB"), Connections: []int{1}, Rounds: 2, Slice: time.Millisecond,
		Terminators: []Terminator{
			shell("dead", "echo it has no mind to >&2; exit 1"),
			{Name: "missing", Program: "no-such-program", Command: func(Place) ([]string, error) { return nil, nil }},
		},
	})
	if row := report.row(t, Variant, "dead"); !strings.Contains(row.Error, "it has no mind to") || row.Rounds != 0 {
		t.Errorf("%+v", row)
	}
	if row := report.row(t, Control, stdlibProxy); row.Error != "" || row.Rounds != 2 {
		t.Errorf("%+v", row)
	}
	if len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "missing is skipped: no-such-program is not installed") {
		t.Errorf("%q", report.Notes)
	}
}
