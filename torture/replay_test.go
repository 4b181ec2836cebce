package torture

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// One seed, one outcome: what each side did and was told, to the byte.
func TestReplayEndsTheSameEachTime(t *testing.T) {
	for _, id := range []string{
		"upload:pipe-strict:stdlib:size=65536:seed=7:trial=0/1",
		"upload-key-update:pipe-linux:stdlib:size=131072:seed=7:trial=0/1",
		"upload-client-cert:pipe-linux:tlsstream:size=65536:seed=7:trial=2/3:buffers=3000/2000",
		"lockstep-handshake:lockstep:tlsstream-listener:size=1:seed=7:trial=5/30",
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			c, err := ParseCase(id)
			if err != nil {
				t.Fatal(err)
			}
			var first *Played
			for range 100 {
				played, err := Replay(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = played
				}
				if diff := cmp.Diff(first, played, cmpopts.IgnoreFields(Played{}, "Transcript")); diff != "" {
					t.Fatalf("(-first +now):\n%s", diff)
				}
			}
		})
	}
}

// The case of a failure is the trial that failed, and not another one of the row.
func TestReplayPlaysTheTrialThatFailed(t *testing.T) {
	plan := Plan{
		Stacks:    []Stack{Stdlib()},
		Scenarios: scenarioNamed(t, "lockstep-handshake"),
		Runs:      2,
		Seed:      11,
	}
	report, err := Run(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	failure := report.Rows[0].FirstFailure
	played, err := Replay(t.Context(), failure.Case)
	if err != nil {
		t.Fatal(err)
	}
	got, want := played.Verdict, failure.Verdict
	if !strings.HasPrefix(want.Detail, "reads of at most ") {
		t.Fatalf("the detail does not tell trials apart: %v", want)
	}
	got.Stacks, want.Stacks = "", ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-in the plan +replayed):\n%s", diff)
	}
}

func TestReplayRefusesWhatItDoesNotKnow(t *testing.T) {
	for id, want := range map[string]string{
		"a:tcp:stdlib:size=1:seed=0:trial=0/1":                       `torture: no scenario "a", only upload, `,
		"upload:b:stdlib:size=1:seed=0:trial=0/1":                    `torture: no network "b", only tcp, `,
		"upload:tcp:c:size=1:seed=0:trial=0/1":                       `torture: no stack "c", only stdlib, `,
		"upload:tcp:stdlib:size=1:seed=0:trial=0/1:buffers=1/1":      "torture: the buffers of network tcp cannot be changed",
		"upload:lockstep:stdlib:size=1:seed=0:trial=0/1:buffers=1/1": "torture: the buffers of network lockstep cannot be changed",
	} {
		c, err := ParseCase(id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Replay(t.Context(), c); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", id, err, want)
		}
	}
}

func TestSoakRepeatsWithNewSeedsUntilItsTimeIsOver(t *testing.T) {
	scenario := scenarioNamed(t, "upload")[0]
	report, err := Run(t.Context(), Plan{
		Stacks:    []Stack{Tlsstream()},
		Controls:  []Stack{Stdlib()},
		Scenarios: []Scenario{scenario},
		Networks:  networksNamed(t, "pipe-strict"),
		Runs:      3,
		SizeBytes: 64 << 10,
		Duration:  300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	control, tested := report.Rows[0], report.Rows[1]
	if control.Trials != 3 || tested.Trials <= 3 || report.Rounds < tested.Trials/3 || report.Trials != tested.Trials+3 {
		t.Errorf("%d rounds, %d trials of the control and %d of the stack under test", report.Rounds, control.Trials, tested.Trials)
	}
	if report.Status != Clean {
		t.Errorf("status %v", report.Status)
	}
}

func TestSoakPrefersRandomScenarios(t *testing.T) {
	fixed, random := &Scenario{}, &Scenario{random: true}
	rows := []*row{{scenario: fixed, role: UnderTest}, {scenario: random, role: UnderTest}, {scenario: random, role: Control}}
	if got := new(Plan).soaked(rows); len(got) != 1 || got[0] != rows[1] {
		t.Errorf("repeats %d rows", len(got))
	}
}

func TestRoundsHaveSeedsOfTheirOwn(t *testing.T) {
	plan := &Plan{Seed: 5}
	rows := []*row{{scenario: &Scenario{}, network: &Network{}, stack: &Stack{}, trials: 1, stride: 1}}
	seeds := make(map[uint64]bool)
	for round := range 20 {
		jobs, err := plan.round(rows, round)
		if err != nil {
			t.Fatal(err)
		}
		seeds[jobs[0].c.Seed] = true
	}
	if len(seeds) != 20 || !seeds[5] {
		t.Errorf("%d seeds for 20 rounds", len(seeds))
	}
}

func TestTrialsFollowTheCost(t *testing.T) {
	plan := &Plan{Runs: 10}
	for _, test := range []struct {
		scenario Scenario
		network  Network
		want     int
	}{
		{Scenario{}, Network{}, 10},
		{Scenario{TrialsPerRun: 8}, Network{}, 80},
		{Scenario{TrialsPerRun: 8}, Network{RunsPerTrial: 4}, 20},
		{Scenario{RunsPerTrial: 5}, Network{RunsPerTrial: 4}, 1},
		{Scenario{}, Network{RunsPerTrial: 3}, 4},
	} {
		if got := plan.trials(&test.scenario, &test.network); got != test.want {
			t.Errorf("%+v: %d trials, want %d", test, got, test.want)
		}
	}
}
