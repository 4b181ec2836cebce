package torture

import (
	"os"
	"slices"
	"testing"
)

func TestTlsstream(t *testing.T)            { TestStack(t, Tlsstream()) }
func TestTlsstreamListener(t *testing.T)    { TestStack(t, TlsstreamListener()) }
func TestTlsstreamWriteBehind(t *testing.T) { TestStack(t, TlsstreamWriteBehind()) }

// The other half of TestStack: a scenario that a bad stack passes would prove nothing.
func TestStdlibFailsEveryScenarioOnEveryNetwork(t *testing.T) {
	report, err := Run(t.Context(), Plan{Stacks: []Stack{Stdlib()}, Runs: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	passes := make(map[[2]string]bool)
	for _, s := range Scenarios() {
		for _, on := range s.On {
			passes[[2]string{s.Name, on.Network}] = on.ControlPasses
		}
	}
	for _, row := range report.Rows {
		if row.Verdict == Skipped {
			if os.Getenv("CI") != "" && row.Network != "delayed" { // which root alone can make
				t.Errorf("%s over %s: %v: %s", row.Scenario, row.Network, row.Verdict, row.Reason)
			}
			continue
		}
		if passes[[2]string{row.Scenario, row.Network}] {
			continue
		}
		if row.Verdict == OK {
			t.Errorf("%s over %s: crypto/tls passes", row.Scenario, row.Network)
		}
		if row.Threat == Blocking && row.DeadlockedRuns == 0 {
			t.Errorf("%s over %s: no deadlock, but %v", row.Scenario, row.Network, row.FirstFailure)
		}
		if row.Threat == DataLoss && row.LostRuns == 0 {
			t.Errorf("%s over %s: no loss, but %v", row.Scenario, row.Network, row.FirstFailure)
		}
	}
	if report.Status != StatusOf(SilentLoss) {
		t.Errorf("status %v, want %v", report.Status, StatusOf(SilentLoss))
	}
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
