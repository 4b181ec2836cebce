package torture

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSameSeedSameReportOverPipes(t *testing.T) {
	plan := Plan{
		Stacks:    []Stack{Tlsstream()},
		Controls:  []Stack{Stdlib()},
		Networks:  networksNamed(t, "pipe-strict", "pipe-linux", "lockstep"),
		Runs:      1,
		SizeBytes: 1 << 20, // from here on no control races with its peer
		Seed:      7,
	}
	var first *Report
	for range 3 {
		report, err := Run(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		report.ElapsedSeconds = 0
		for i := range report.Rows {
			report.Rows[i].Exhibit = nil // see TestSameSeedSameRecords
			if f := report.Rows[i].FirstFailure; f != nil {
				f.Stacks = "" // where exactly a goroutine stands is up to the scheduler
			}
		}
		if first == nil {
			first = report
		}
		if diff := cmp.Diff(first, report); diff != "" {
			t.Fatalf("same seed, other report (-first +now):\n%s", diff)
		}
	}
}

func TestSeedChoosesDifferentRuns(t *testing.T) {
	seeds := make(map[uint64]bool)
	for seed := range uint64(10) {
		for index := range 10 {
			seeds[Case{Scenario: "s", Network: "n", Seed: seed, Trial: index}.trialSeed()] = true
		}
	}
	if len(seeds) != 100 {
		t.Errorf("%d different seeds for 100 trials", len(seeds))
	}
}

func TestSweepTakesEverySize(t *testing.T) {
	const limit = 2048
	for parity := range 2 {
		taken := make(map[int]bool)
		for i := range limit {
			taken[sweep(&trial{index: 2*i + parity, of: 2 * limit}, limit, 2)] = true
		}
		if len(taken) != limit {
			t.Errorf("%d trials took %d values", limit, len(taken))
		}
	}
	for i := range 64 {
		step := limit / 64
		got := sweep(&trial{index: 2 * i, of: 2 * 64, seed: uint64(i)}, limit, 2)
		if got <= i*step || got > (i+1)*step {
			t.Errorf("trial %d took %d, outside of its part", i, got)
		}
	}
	if got := sweep(&trial{index: 5000, of: 10_000}, limit, 2); got < 1 || got > limit {
		t.Errorf("more trials than values: took %d", got)
	}
}

func TestControlThatPassesIsBlind(t *testing.T) {
	plan := Plan{
		Stacks:    []Stack{TlsstreamListener()},
		Controls:  []Stack{Tlsstream()},
		Scenarios: scenarioNamed(t, "upload"),
		Networks:  networksNamed(t, "pipe-strict"),
		Runs:      1,
	}
	report, err := Run(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Rows[0].Blind || report.Rows[1].Blind || report.Status != BlindControl {
		t.Errorf("status %v, rows %+v", report.Status, report.Rows)
	}

	plan.SizeBytes = 1
	if report, err = Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if report.Rows[0].MustFail || report.Status != Clean {
		t.Errorf("a byte need not be lost, but: status %v, rows %+v", report.Status, report.Rows)
	}
}

func TestWorstStatusFirst(t *testing.T) {
	underTest := func(c Class) Row { return Row{Role: UnderTest, Verdict: c} }
	for _, test := range []struct {
		rows []Row
		want Status
	}{
		{[]Row{underTest(OK), {Role: Control, Verdict: SilentLoss}}, Clean},
		{[]Row{underTest(OK), {Role: Control, Blind: true}}, BlindControl},
		{[]Row{underTest(Deadlock), {Role: Control, Blind: true}}, Deadlocked},
		{[]Row{underTest(Deadlock), underTest(WrongError)}, Deadlocked},
		{[]Row{underTest(Deadlock), underTest(Lost)}, "lost"},
		{[]Row{underTest(Undetermined), {Role: Control, Verdict: Corrupted}}, Clean},
	} {
		if got := (&Report{Rows: test.rows}).status(); got != test.want {
			t.Errorf("%+v: status %v, want %v", test.rows, got, test.want)
		}
	}
}

// The leak check of TestMain sees to it that nothing is left behind.
func TestCancelledRunReturnsTheCause(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	report, err := Run(ctx, Plan{
		Stacks:   []Stack{Stdlib()},
		Runs:     1000,
		Progress: func(Progress) { cancel(cause) },
	})
	if report != nil || err != cause {
		t.Errorf("got %v, %v", report, err)
	}
}

func TestProgressCountsEveryTrial(t *testing.T) {
	var last Progress
	calls := 0
	report, err := Run(t.Context(), Plan{
		Stacks:    []Stack{Tlsstream()},
		Scenarios: scenarioNamed(t, "lockstep-handshake"),
		Runs:      3,
		Progress:  func(p Progress) { last, calls = p, calls+1 },
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := report.Rows[0].Trials; calls != n || last.Done != n || last.Total != n || last.Stack != "tlsstream" {
		t.Errorf("%d calls, the last of them %+v, for %d trials", calls, last, n)
	}
}

func TestBadPlansAreRefused(t *testing.T) {
	good := []Stack{Stdlib()}
	for _, test := range []struct {
		plan Plan
		want string
	}{
		{Plan{}, "Stacks is empty"},
		{Plan{Stacks: []Stack{{Name: "x"}}}, "no Server"},
		{Plan{Stacks: []Stack{{Server: good[0].Server}}}, "no Name"},
		{Plan{Stacks: good, Scenarios: []Scenario{{Name: "mine", On: on(0, "tcp")}}}, "no script"},
		{Plan{Stacks: good, Networks: []Network{{Name: "tcp", StallAfter: tcpStall}}}, "no Dial"},
		{Plan{Stacks: good, Networks: []Network{{Name: "tcp", Dial: noDial}}}, "no StallAfter"},
		{Plan{Stacks: good, Controls: good}, "two stacks"},
		{Plan{Stacks: good, Runs: -1}, "negative"},
		{Plan{Stacks: good, Runs: math.MaxInt}, "at most"},
		{Plan{Stacks: good, SizeBytes: math.MaxInt64}, "at most"},
		{Plan{Stacks: good, Runs: maxTrials}, "fewer Runs"},
		{Plan{Stacks: good, Scenarios: scenarioNamed(t, "upload"), Networks: networksNamed(t, "lockstep")}, "none of the scenarios"},
		{Plan{Stacks: good, Networks: []Network{{Name: "tcp", StallAfter: tcpStall, Dial: noDial}}}, "no network today"},
	} {
		if _, err := Run(t.Context(), test.plan); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got error %v, want %q", err, test.want)
		}
	}
}
