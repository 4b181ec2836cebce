package torture

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var allCatches = flag.Bool("mutants.all", false, "play the whole default run for each mutant, and list all that catches it")

// A catch is where the default run catches a mutant, among other places: the row's verdict.
type catch struct {
	mutant, scenario, network string
	verdict                   Class
}

// catches is the table in the package's documentation.
var catches = []catch{
	{"releases the ticket one record early", "upload", "pipe-strict", SilentLoss},
	{"forgets one KeyUpdate", "key-update-flood", "pipe-linux", SilentLoss},
	{"drops held bytes on close", "key-update-flood", "pipe-strict", WrongError},
	{"sends held records behind the next", "both-write-first", "pipe-strict", SilentLoss},
	{"writes what is held in Read", "huge-ticket", "pipe-strict", Deadlock},
	{"makes Read wait for a Write", "both-write-first", "pipe-strict", Deadlock},
	{"grows with a flood", "key-update-flood", "pipe-strict", WrongError},
	{"seals in the wrong epoch after a collapse", "key-update-flood", "pipe-strict", SilentLoss},
	{"sends a KeyUpdate after close_notify", "early-response", "pipe-strict", SilentLoss},
	{"takes a FIN for the end of the stream", "truncated-download", "pipe-strict", SilentLoss},
	{"reports truncation where there is none", "upload", "pipe-strict", WrongError},
	{"answers Close late", "close-race", "pipe-strict", HungClose},
}

// String is a line of the table.
func (c catch) String() string {
	return fmt.Sprintf("%-42s %-18s %-11s %v", c.mutant, c.scenario, c.network, c.verdict)
}

// mutantNamed returns the stack of a mutant: the layer's, or one of those that random-ops meets, too.
func mutantNamed(t *testing.T, name string) Stack {
	if flaw, ok := layerMutants[name]; ok {
		return layerStack(flaw)
	}
	for _, m := range mutants {
		if m.name == name {
			return mutatedEngine(m.mutate)
		}
	}
	t.Fatalf("no mutant %q", name)
	return Stack{}
}

// Each mutant meets the trials that a default run has for that scenario and network.
func TestDefaultRunCatchesEveryMutant(t *testing.T) {
	t.Parallel()
	lines := make([]string, len(catches))
	t.Cleanup(func() { t.Logf("\n%s", strings.Join(lines, "\n")) })
	for i, c := range catches {
		t.Run(c.mutant, func(t *testing.T) {
			t.Parallel()
			plan := Plan{Stacks: []Stack{mutantNamed(t, c.mutant)}, Seed: 1}
			if !*allCatches {
				plan.Scenarios, plan.Networks = scenarioNamed(t, c.scenario), networksNamed(t, c.network)
			}
			report, err := Run(t.Context(), plan)
			if err != nil {
				t.Fatal(err)
			}
			caught := false
			for _, row := range report.Rows {
				if !row.Verdict.failed() {
					continue
				}
				line := fmt.Sprintf("%-87v %2d of %2d trials, the first is %d", catch{c.mutant, row.Scenario, row.Network, row.Verdict},
					row.FailedRuns(), row.Trials, row.FirstFailure.Trial)
				if row.Scenario == c.scenario && row.Network == c.network {
					caught = row.Verdict == c.verdict
					lines[i] = line
				}
				if *allCatches {
					t.Logf("%s: %s", line, row.FirstFailure.Detail)
				}
			}
			if !caught {
				t.Errorf("not caught by %s over %s as %v: %q", c.scenario, c.network, c.verdict, lines[i])
			}
		})
	}
	for name := range layerMutants {
		if !strings.Contains(fmt.Sprint(catches), name) {
			t.Errorf("%s: not in the table", name)
		}
	}
}

// If they failed without a flaw, too, the mutants would prove nothing.
func TestUnbrokenMutantsPassEveryScenario(t *testing.T) {
	report, err := Run(t.Context(), Plan{Stacks: []Stack{layerStack(layerFlaw{}), mutatedEngine(func(*mutant) {})}, Runs: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if row.Verdict.failed() {
			t.Errorf("%s over %s: %s: %+v", row.Scenario, row.Network, row.Stack, row.FirstFailure)
		}
	}
}

func TestDocumentedMutantsAreTheTested(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "// # Sensitivity\n")
	section, _, _ = strings.Cut(section, "// # ")
	var documented, tested []string
	for line := range strings.Lines(section) {
		if line, ok := strings.CutPrefix(line, "//\t"); ok {
			documented = append(documented, strings.TrimSuffix(line, "\n"))
		}
	}
	for _, c := range catches {
		tested = append(tested, c.String())
	}
	if diff := cmp.Diff(tested, documented); diff != "" {
		t.Errorf("doc.go and the tests do not have the same table (-tests +doc.go):\n%s", diff)
	}
}
