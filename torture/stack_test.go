package torture

import (
	"math"
	"os"
	"slices"
	"testing"
)

func TestTlsstream(t *testing.T)         { TestStack(t, Tlsstream()) }
func TestTlsstreamListener(t *testing.T) { TestStack(t, TlsstreamListener()) }

// The other half of TestStack: a scenario that a bad stack passes would prove nothing.
func TestStdlibFailsEveryScenarioOnEveryNetwork(t *testing.T) {
	report, err := Run(t.Context(), Plan{Stacks: []Stack{Stdlib()}, Runs: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if row.Verdict == Skipped {
			if os.Getenv("CI") != "" {
				t.Errorf("%s over %s: %v", row.Scenario, row.Network, row.FirstFailure)
			}
			continue
		}
		if !mustFail(row.Scenario, row.Network) {
			continue
		}
		if row.Verdict == OK {
			t.Errorf("%s over %s: crypto/tls passes", row.Scenario, row.Network)
		}
		if row.Threat == Blocking && row.DeadlockedRuns == 0 {
			t.Errorf("%s over %s: no deadlock, but %v", row.Scenario, row.Network, row.FirstFailure)
		}
		if row.Threat == DataLoss && row.SilentLossRuns == 0 {
			t.Errorf("%s over %s: no silent loss, but %v", row.Scenario, row.Network, row.FirstFailure)
		}
	}
	if report.Status != DataFailed {
		t.Errorf("status %v, want %v", report.Status, DataFailed)
	}
}

// mustFail reports whether crypto/tls fails the scenario at some size.
func mustFail(scenario, network string) bool {
	for _, s := range Scenarios() {
		for _, on := range s.On {
			if s.Name == scenario && on.Network == network {
				return on.MinSize < math.MaxInt64
			}
		}
	}
	return false
}

func scenarioNamed(t *testing.T, name string) []Scenario {
	t.Helper()
	i := slices.IndexFunc(Scenarios(), func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no scenario %q", name)
	}
	return Scenarios()[i : i+1]
}

func networksNamed(t *testing.T, names ...string) []Network {
	t.Helper()
	networks := slices.DeleteFunc(Networks(), func(n Network) bool { return !slices.Contains(names, n.Name) })
	if len(networks) != len(names) {
		t.Fatalf("not all of %q are networks", names)
	}
	return networks
}
