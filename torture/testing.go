package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

const (
	// testRuns is how often TestStack runs each scenario for each network. Faults of this family show in nearly every run.
	testRuns = 4

	// replayVariable names the environment variable that makes TestStack play one case.
	replayVariable = "TORTURE_REPLAY"
)

// TestStack tests that a stack keeps the promise of plain TCP in every scenario: nothing lost, nobody blocked. It has
// one subtest for each scenario. The stack's Server must accept a crypto/tls config, and the stack must speak TLS 1.3.
//
// The seed is random and logged. A failure is reduced and logged as a case. With the environment variable
// TORTURE_REPLAY set to that, TestStack plays this case alone, and logs what happened on the wire; for another stack it
// is skipped.
func TestStack(t *testing.T, s Stack) {
	controls := []Stack{Stdlib()}
	if s.Name == controls[0].Name {
		controls[0].Name += "-control"
	}
	plan := Plan{Stacks: []Stack{s}, Controls: controls, Runs: testRuns, Seed: rand.Uint64(), Reduce: 1}
	if id := os.Getenv(replayVariable); id != "" {
		testCase(t, plan, id)
		return
	}
	for _, scenario := range Scenarios() {
		t.Run(scenario.Name, func(t *testing.T) {
			t.Logf("seed %d: %s", plan.Seed, scenario.About)
			plan := plan
			plan.Scenarios = []Scenario{scenario}
			report, err := Run(t.Context(), plan)
			if err != nil {
				t.Fatal(err)
			}
			for i := range report.Rows {
				if row := &report.Rows[i]; row.Verdict == Skipped {
					t.Logf("%s: %s: %v: %s", row.Network, row.Stack, row.Verdict, row.Reason)
				}
			}
			for _, complaint := range report.complaints() {
				t.Error(complaint)
			}
		})
	}
}

// testCase plays one case.
func testCase(t *testing.T, plan Plan, id string) {
	c, err := ParseCase(id)
	if err != nil {
		t.Fatal(err)
	}
	known := append(plan.Stacks, plan.Controls...)
	if !slices.ContainsFunc(known, func(s Stack) bool { return s.Name == c.Stack }) {
		t.Skipf("%s is of another stack", id)
	}
	played, err := plan.Replay(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range played.Transcript.merged() {
		t.Logf("%9.2f ms  %v", e.At.Seconds()*1e3, e)
	}
	if played.Verdict.Class.failed() {
		t.Errorf("%v\n%s", played.Verdict, played.Verdict.Stacks)
	}
}

// complaints says of each row what is wrong with it.
func (r *Report) complaints() []string {
	var complaints []string
	for i := range r.Rows {
		switch row := &r.Rows[i]; {
		case row.Blind:
			complaints = append(complaints, fmt.Sprintf("%s: blind: %s fails this scenario everywhere else, so a pass here proves nothing",
				row.Network, row.Stack))
		case row.Role == UnderTest && row.Verdict.failed():
			complaints = append(complaints, fmt.Sprintf("%s: %d of %d runs failed; run %d: %v\nto play it again, set %s=%s\n%s",
				row.Network, row.FailedRuns(), row.Trials, row.FirstFailure.Trial, row.FirstFailure.Verdict,
				replayVariable, row.FirstFailure.Smallest(), row.FirstFailure.Stacks))
		}
	}
	return complaints
}
