package torture

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func exampleReport() *Report {
	return &Report{
		Rows: []Row{
			{Scenario: "upload", Network: "tcp", Stack: "stdlib", Role: Control, Threat: DataLoss, MustFail: true,
				Verdict: SilentLoss, Trials: 20, LostRuns: 19, SilentLossRuns: 18, WrongErrorRuns: 1, MedianLostBytes: 950272,
				Counts: map[Class]int{SilentLoss: 18, Lost: 1, WrongError: 1}},
			{Scenario: "upload", Network: "tcp", Stack: "good", Role: UnderTest, Threat: DataLoss, Trials: 20},
			{Scenario: "upload", Network: "tcp", Stack: "bad", Role: UnderTest, Threat: DataLoss, Trials: 20,
				Verdict: Lost, LostRuns: 1, MedianLostBytes: 1, Counts: map[Class]int{Lost: 1, OK: 19}},
			{Scenario: "huge-ticket", Network: "tcp-small", Stack: "stdlib", Role: Control, Threat: Blocking, MustFail: true,
				Blind: true, Trials: 10},
			{Scenario: "huge-ticket", Network: "tcp-small", Stack: "good", Role: UnderTest, Threat: Blocking, Trials: 10},
			{Scenario: "huge-ticket", Network: "tcp-small", Stack: "bad", Role: UnderTest, Threat: Blocking, Trials: 10,
				Verdict: Deadlock, DeadlockedRuns: 10, Counts: map[Class]int{Deadlock: 10}},
		},
	}
}

func TestTable(t *testing.T) {
	const want = `
SCENARIO     NETWORK    stdlib (control)   good     bad
upload       tcp        silent-loss 20/20  ok 0/20  lost 1/20
huge-ticket  tcp-small  blind 0/10         ok 0/10  deadlock 10/10
upload       delayed    -                  skipped  -
skipped: no TUN device
`
	var got strings.Builder
	got.WriteByte('\n')
	report := exampleReport()
	report.Rows = append(report.Rows, Row{Scenario: "upload", Network: "delayed", Stack: "good", Role: UnderTest, Verdict: Skipped, Reason: "no TUN device"})
	if err := report.WriteTable(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSummary(t *testing.T) {
	got := exampleReport().Summary()
	want := []string{
		"stock crypto/tls (stdlib) lost data in 19 of 20 transfers (in 18 of them the sender was told that all went well) " +
			"and failed in another way in 1 of all 30 runs.",
		"bad lost data in 1 of 20 transfers (in 0 of them the sender was told that all went well) " +
			"and blocked for ever in 10 of 10 runs over small buffers.",
		"good lost nothing in 20 transfers and never blocked in 10 runs over small buffers.",
		"The cause: TLS 1.3 sends session tickets and answers to KeyUpdate that no application asked for. A client that " +
			"only writes leaves them unread, so its close resets the connection and what it had queued is gone; and where " +
			"buffers are small, each side waits for the other to read.",
		"Blind rows: 1. A stack that is known to fail there did not, so they prove nothing.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUndeterminedRunsAreCountedApart(t *testing.T) {
	mixed := Row{Role: UnderTest, Trials: 3, UndeterminedRuns: 2, Counts: map[Class]int{OK: 1, Undetermined: 2}}
	if got, want := mixed.cell(), "ok 0/3, 2 undetermined"; got != want || mixed.FailedRuns() != 0 {
		t.Errorf("got %q and %d failed, want %q and none", got, mixed.FailedRuns(), want)
	}
	report := &Report{UndeterminedRuns: 2, Rows: []Row{mixed, {Role: UnderTest, Verdict: Undetermined, Trials: 2}}}
	if got := report.status(); got != Clean {
		t.Errorf("status %v, want %v", got, Clean)
	}
	sentences := report.Summary()
	if last := sentences[len(sentences)-1]; !strings.HasPrefix(last, "Undetermined runs: 2.") {
		t.Errorf("the summary ends with %q", last)
	}
}

func TestRowSumsUpItsTrials(t *testing.T) {
	verdicts := []Verdict{
		{}, {Class: Deadlock, Detail: "d"}, {Class: Lost, LostBytes: 30, Detail: "l"}, {Class: SilentLoss, LostBytes: 10, Detail: "s"},
		{Class: SilentLoss, LostBytes: 20}, {Class: WrongError}, {Class: Undetermined}, {Class: HungClose}, {}, {Class: Slow},
	}
	c := func(i int) Case { return Case{Trial: i, Of: len(verdicts)} }
	label := func(i int) string { return c(i).String() }
	want := Row{
		Scenario: "s", Network: "n", Stack: "x", Role: UnderTest, Threat: DataLoss,
		Verdict: SilentLoss, Trials: 10, UndeterminedRuns: 1, LostRuns: 3, SilentLossRuns: 2, DeadlockedRuns: 1, WrongErrorRuns: 1,
		MedianLostBytes: 20,
		Counts: map[Class]int{OK: 1, LeakedGoroutine: 1, Deadlock: 1, Lost: 1, SilentLoss: 2, WrongError: 1, Undetermined: 1,
			HungClose: 1, Slow: 1},
		FirstFailure: &Failure{Trial: 3, Case: c(3), Verdict: Verdict{Class: SilentLoss, LostBytes: 10, Detail: "s"}},
	}
	for _, order := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {9, 4, 3, 8, 7, 6, 5, 2, 1, 0}} {
		r := &row{
			scenario: &Scenario{Name: "s", Threat: DataLoss},
			network:  &Network{Name: "n"},
			stack:    &Stack{Name: "x"},
			role:     UnderTest,
		}
		for _, i := range order {
			r.add(place{index: i}, label(i), c(i), verdicts[i])
		}
		r.addLeak(leak{label: label(8), c: c(8), verdict: Verdict{Class: LeakedGoroutine}})
		r.addLeak(leak{label: label(1), c: c(1), verdict: Verdict{Class: LeakedGoroutine}}) // a deadlock is worse
		got := r.report()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got.FailedRuns() != 8 {
			t.Errorf("FailedRuns %d, want 8", got.FailedRuns())
		}
	}
}

// Whoever reads the JSON form relies on these names.
func TestReportFieldsAreStable(t *testing.T) {
	c := Case{Scenario: "s", Network: "n", Stack: "x", Size: 3, Seed: 1, Trial: 1, Of: 2}
	smaller := c
	smaller.Size = 1
	report := &Report{Seed: 1, Runs: 2, SizeBytes: 3, Rounds: 1, Trials: 2, ElapsedSeconds: 4.5, Status: StatusOf(SilentLoss), Rows: []Row{{
		Scenario: "s", Network: "n", Stack: "x", Role: UnderTest, Threat: DataLoss, Verdict: SilentLoss, Trials: 2,
		Counts:   map[Class]int{OK: 1, SilentLoss: 1},
		LostRuns: 1, SilentLossRuns: 1, MedianLostBytes: 7,
		FirstFailure: &Failure{Trial: 1, Case: c, Reduced: &smaller, Verdict: Verdict{Class: SilentLoss, LostBytes: 7, Detail: "d"}},
	}}}
	const want = `{"seed":1,"runs":2,"size_bytes":3,"rounds":1,"trials":2,"undetermined_runs":0,"elapsed_seconds":4.5,` +
		`"status":"silent-loss","rows":[` +
		`{"scenario":"s","network":"n","stack":"x","role":"under-test","threat":"data-loss","must_fail":false,"blind":false,"control_passes":false,` +
		`"verdict":"silent-loss","counts":{"ok":1,"silent-loss":1},"trials":2,"undetermined_runs":0,` +
		`"lost_runs":1,"silent_loss_runs":1,"corrupted_runs":0,"deadlocked_runs":0,` +
		`"wrong_error_runs":0,"median_lost_bytes":7,"first_failure":{"trial":1,"case":"s:n:x:size=3:seed=1:trial=1/2",` +
		`"reduced":"s:n:x:size=1:seed=1:trial=1/2","class":"silent-loss","lost_bytes":7,"detail":"d"}}]}`
	got, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var back Report
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report, &back); diff != "" {
		t.Errorf("written and read again (-want +got):\n%s", diff)
	}
}
