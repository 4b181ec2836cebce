package bench

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// example is a report with a row of each kind.
func example() *Report {
	return &Report{
		Machine: Machine{GOOS: "plan9", GOARCH: "mips", Go: "go1.99", CPU: "abacus", Cores: 3, Load: "0.10 0.20 0.30"},
		Rounds:  25, Slice: 30 * time.Millisecond, Elapsed: time.Minute, Notes: []string{"idle-1MiB has 7 connections in place of 9"},
		Rows: []Row{
			{Scenario: "bulk-64KiB", Connections: 8, Stack: "stdlib", Side: Both, Role: Baseline, Rounds: 25, Unit: bulkUnit,
				Rate: 100_000, ClientCPU: 5 * time.Microsecond, ServerCPU: 6 * time.Microsecond},
			{Scenario: "bulk-64KiB", Connections: 8, Stack: "stdlib", Side: Both, Role: Control, Rounds: 25, Unit: bulkUnit,
				Ratio: Spread{1.004, 0.98, 1.02}, Rate: 100_000, ClientCPU: 5 * time.Microsecond, ServerCPU: 6 * time.Microsecond},
			{Scenario: "bulk-64KiB", Connections: 8, Stack: "ours", Side: ClientSide, Role: Variant, Rounds: 25, Unit: bulkUnit,
				Ratio: Spread{1.25, 1.2, 1.31}, CPURatio: Spread{0.86, 0.8, 0.9}, Rate: 125_000, ClientCPU: 4 * time.Microsecond, ServerCPU: 5500},
			{Scenario: "bulk-64KiB", Connections: 8, Stack: "theirs", Side: Both, Role: Variant, Rounds: 2, Unit: bulkUnit, Error: "client: broken"},
			{Scenario: "handshake-full", Connections: 1, Stack: "stdlib", Side: Both, Role: Baseline, Rounds: 25, Unit: "handshake",
				Rate: 1500, Allocations: &Allocations{400, 50_000, 300, 40_000}},
			{Scenario: "handshake-full", Connections: 1, Stack: "ours", Side: Both, Role: Variant, Rounds: 25, Unit: "handshake",
				Ratio: Spread{1, 1, 1}, Rate: 1500, Allocations: &Allocations{412, 51_000.4, 299.6, 40_000}},
			{Scenario: "idle-1MiB", Connections: 7, Stack: "stdlib", Side: Both, Role: Baseline, Rounds: 1, Unit: idleUnit,
				Memory: &Memory{44 << 10, 4 << 10, 44 << 10, 4 << 10}},
			{Scenario: "idle-1MiB", Connections: 7, Stack: "ours", Side: Both, Role: Variant, Rounds: 1, Unit: idleUnit,
				Ratio: Spread{0.25, 0.25, 0.25}, Memory: &Memory{8 << 10, 4 << 10, 8 << 10, 4 << 10}},
		},
	}
}

func TestReportSurvivesJSON(t *testing.T) {
	want := example()
	document, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(document, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEmptyListsAreNotNull(t *testing.T) {
	document, err := json.Marshal(newReport(&Plan{}))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(document), "null") {
		t.Errorf("%s", document)
	}
}

func TestTextShowsEachFigure(t *testing.T) {
	var text strings.Builder
	if err := example().WriteText(&text); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"SCENARIO CONNS STACK RATIO MIN–MAX RATE CPU RATIO CLIENT CPU SERVER CPU PER",
		"bulk-64KiB 8 stdlib - - 1638 MB/s - 5.00 µs 6.00 µs 16 KiB",
		"bulk-64KiB 8 stdlib (control) 1.00 0.98–1.02 1638 MB/s",
		"bulk-64KiB 8 ours, client only 1.25 1.20–1.31 2048 MB/s 0.86 4.00 µs 5.50 µs 16 KiB",
		"handshake-full 1 ours 1.00 1.00–1.00 1500/s - - - handshake",
		"handshake-full 1 stdlib 400 50000 300 40000",
		"handshake-full 1 ours 412 (+12) 51000 (+1000) 300 (+0) 40000 (+0)",
		"idle-1MiB 7 stdlib - 44.0 KiB 4.0 KiB 44.0 KiB 4.0 KiB",
		"idle-1MiB 7 ours 0.25 8.0 KiB",
		"bulk-64KiB, 8 connections, theirs failed after 2 rounds: client: broken",
		"Note: idle-1MiB has 7 connections in place of 9.",
		"go1.99 plan9/mips, 3 cores of abacus, load at the start 0.10 0.20 0.30",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if strings.Contains(words, "interrupted") {
		t.Errorf("it was not interrupted:\n%s", &text)
	}
	if strings.Contains(words, "Noisy") {
		t.Errorf("the control is within 0.03:\n%s", &text)
	}
}

// Who reads a ratio is told when it is worth little.
func TestReportSaysThatItIsNoisy(t *testing.T) {
	report := example()
	report.Rows[1].Ratio.Median = 1.05
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if want := "Noisy: the machine was not quiet, and the control is not within 0.03 of 1, in bulk-64KiB with 8 connections (1.05)."; !strings.Contains(text.String(), want) {
		t.Errorf("no %q in\n%s", want, &text)
	}
}

func TestReportNamesNobody(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	document, err := json.Marshal(newReport(&Plan{}))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(document), host) {
		t.Errorf("the report has this machine's name: %s", document)
	}
}

// Few rounds make one block, whose least and greatest are its median. What there is one of is in the singular.
func TestReportOfOneRound(t *testing.T) {
	report := example()
	report.Rounds = 1
	for i := range report.Rows {
		report.Rows[i].Connections, report.Rows[i].Rounds = 1, 1
	}
	report.Rows[1].Ratio = Spread{0.77, 0.77, 0.77}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"bulk-64KiB 1 stdlib (control) 0.77 - 1638 MB/s", "bulk-64KiB with 1 connection (0.77)", "greatest block. 1 round. ",
		"bulk-64KiB, 1 connection, theirs failed after 1 round: ",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if page := htmlOf(t, report); strings.Contains(page, "0.77 (") {
		t.Error("the page has the least and the greatest of one block")
	}
}
