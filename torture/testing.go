package torture

import (
	"math/rand/v2"
	"testing"
)

// testRuns is how often TestStack runs each scenario for each network. Faults of this family show in nearly every run.
const testRuns = 4

// TestStack tests that a stack keeps the promise of plain TCP in every scenario: nothing lost, nobody blocked. It has
// one subtest for each scenario. The stack's Server must accept a crypto/tls config, and the stack must speak TLS 1.3.
//
// The seed is random and logged.
func TestStack(t *testing.T, s Stack) {
	seed := rand.Uint64()
	for _, scenario := range Scenarios() {
		t.Run(scenario.Name, func(t *testing.T) {
			t.Logf("seed %d: %s", seed, scenario.About)
			controls := []Stack{Stdlib()}
			if s.Name == controls[0].Name {
				controls[0].Name += "-control"
			}
			report, err := Run(t.Context(), Plan{
				Stacks:    []Stack{s},
				Controls:  controls,
				Scenarios: []Scenario{scenario},
				Runs:      testRuns,
				Seed:      seed,
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range report.Rows {
				switch row := &report.Rows[i]; {
				case row.Blind:
					t.Errorf("%s: blind: %s fails this scenario everywhere else, so a pass here proves nothing", row.Network, row.Stack)
				case row.Verdict == Skipped:
					t.Logf("%s: %s: %v", row.Network, row.Stack, row.FirstFailure.Verdict)
				case row.Role == UnderTest && row.Verdict != OK:
					t.Errorf("%s: %d of %d runs failed; run %d: %v",
						row.Network, row.FailedRuns(), row.Trials, row.FirstFailure.Trial, row.FirstFailure.Verdict)
				}
			}
		})
	}
}
