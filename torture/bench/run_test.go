package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// named returns the scenarios of these names.
func named(t *testing.T, wanted ...string) []Scenario {
	t.Helper()
	var found []Scenario
	for _, name := range wanted {
		for _, s := range Scenarios() {
			if s.Name == name {
				found = append(found, s)
			}
		}
	}
	if len(found) != len(wanted) {
		t.Fatalf("not all of %v are scenarios", wanted)
	}
	return found
}

func mustRun(t *testing.T, plan Plan) *Report {
	t.Helper()
	report, err := Run(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// row returns the only row of a stack with a role.
func (r *Report) row(t *testing.T, role Role, stack string) *Row {
	t.Helper()
	var found *Row
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Role == role && row.Stack == stack {
			if found != nil {
				t.Fatalf("two rows of %s", stack)
			}
			found = row
		}
	}
	if found == nil {
		t.Fatalf("no row of %s", stack)
	}
	return found
}

// What takes a quarter longer has a lower rate and takes more processor time than what is the same. Other tests run at the same time:
// a run counts only if its control is steady, and one that counts and shows it is enough.
func TestRatioShowsWhatIsSlower(t *testing.T) {
	const attempts, enough = 8, 4
	counted := 0
	for range attempts {
		report := mustRun(t, Plan{
			Scenarios: named(t, "ping-pong-1KiB"), Stacks: []Stack{slowToy()}, Rounds: 15, Slice: 10 * time.Millisecond,
		})
		slow, control := report.row(t, Variant, "slow-toy"), report.row(t, Control, "stdlib")
		if slow.Error != "" || control.Error != "" || slow.Rounds != 15 || control.Rounds != 15 {
			t.Fatalf("%+v\n%+v", slow, control)
		}
		t.Logf("%+v\n%+v", slow, control)
		if control.Ratio.Median < 0.9 || control.Ratio.Median > 1.1 {
			continue
		}
		counted++
		// Where the machine is busy, waiting for one's turn hides the slowness from the rate, but not from the
		// processor time.
		if slow.Ratio.Median > 0.6 && slow.Ratio.Median < control.Ratio.Median && slow.CPURatio.Median > control.CPURatio.Median+0.05 {
			return
		}
	}
	if counted < enough {
		t.Skipf("the machine is too busy: in %d of %d runs the control was steady", counted, attempts)
	}
	t.Errorf("none of %d runs shows that a stack takes a quarter longer", counted)
}

func TestSideSaysWhichEndIsTheStacks(t *testing.T) {
	report := mustRun(t, Plan{
		Scenarios: named(t, "ping-pong-1KiB"), Stacks: []Stack{refusingToy()}, Sides: []Side{Both, ClientSide, ServerSide},
		Rounds: 1, Slice: time.Millisecond,
	})
	got := make(map[Side]bool)
	for _, row := range report.Rows {
		if row.Role == Variant {
			got[row.Side] = row.Error != ""
		}
	}
	// The toy's server is stock.
	if diff := cmp.Diff(map[Side]bool{Both: true, ClientSide: true, ServerSide: false}, got); diff != "" {
		t.Errorf("who failed: -want +got:\n%s", diff)
	}
}

// Whoever fails is told of in its row, and the others go on.
func TestFailingStackIsReported(t *testing.T) {
	began := time.Now()
	report := mustRun(t, Plan{
		Scenarios: named(t, "one-way-1KiB"), Stacks: []Stack{brokenToy(), refusingToy()},
		Rounds: 3, Slice: 5 * time.Millisecond,
	})
	for name, want := range map[string]string{"broken-toy": "toy: broken", "refusing-toy": "toy: refused"} {
		row := report.row(t, Variant, name)
		if !strings.Contains(row.Error, want) || row.Rounds != 0 {
			t.Errorf("want %q: %+v", want, row)
		}
	}
	if row := report.row(t, Control, "stdlib"); row.Error != "" || row.Rounds != 3 {
		t.Errorf("the control: %+v", row)
	}
	if !report.Failed() {
		t.Error("the report has not failed")
	}
	if took := time.Since(began); took > sliceTimeout/2 {
		t.Errorf("took %v: one end did not notice that the other had failed", took)
	}
}

// A panic ends what is measured in the same process, and nothing else; the row of whom it was has its words.
func TestPanicIsReported(t *testing.T) {
	began := time.Now()
	report := mustRun(t, Plan{
		Scenarios: named(t, "ping-pong-1B", "idle-handshake"), Stacks: []Stack{panickingToy()},
		Rounds: 1, Slice: time.Millisecond, IdleConnections: 3,
	})
	for _, row := range report.Rows {
		switch {
		case row.Scenario == "idle-handshake":
			if row.Error != "" {
				t.Errorf("%+v", row)
			}
		case row.Error == "" || row.Role == Variant && !strings.Contains(row.Error, "toy: panic"):
			t.Errorf("%+v", row)
		}
	}
	if took := time.Since(began); took > sliceTimeout/2 {
		t.Errorf("took %v", took)
	}
}

func TestStackThatEndpointsLackIsReported(t *testing.T) {
	unknown := Stdlib()
	unknown.Name = "unknown"
	report := mustRun(t, Plan{Scenarios: named(t, "ping-pong-1B"), Stacks: []Stack{unknown}, Rounds: 1, Slice: time.Millisecond})
	if row := report.row(t, Variant, "unknown"); !strings.Contains(row.Error, `no stack "unknown"`) {
		t.Errorf("%+v", row)
	}
}

// All scenarios run on all stacks.
func TestEveryScenarioEndsByItself(t *testing.T) {
	report := mustRun(t, Plan{Rounds: 1, Slice: time.Millisecond, Connections: []int{1, 3}, IdleConnections: 20, Growth: []int{2, 5}})
	for _, row := range report.Rows {
		if row.Error != "" || row.Rounds != 1 || (row.Rate > 0) == row.isIdle() || (row.Memory != nil) != row.isIdle() {
			t.Errorf("%+v", row)
		}
	}
	if report.Machine.Cores < 1 {
		t.Errorf("machine: %+v", report.Machine)
	}
}

func TestInterruptedRunHasWhatThereIs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	report, err := Run(ctx, Plan{
		Scenarios: named(t, "ping-pong-1B", "ping-pong-64B"), Stacks: []Stack{slowToy()}, Rounds: 100, Slice: time.Millisecond,
		Progress: func(done, total int) {
			if total != 200 {
				t.Errorf("%d of %d rounds", done, total)
			}
			if done == 2 {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Interrupted {
		t.Error("not interrupted")
	}
	if diff := cmp.Diff([]string{"ping-pong-1B came to 2 of 100 rounds", "not begun: ping-pong-64B"}, report.Notes); diff != "" {
		t.Errorf("notes: -want +got:\n%s", diff)
	}
	for _, row := range report.Rows {
		if row.Scenario != "ping-pong-1B" || row.Error != "" || row.Rounds != 2 {
			t.Errorf("%+v", row)
		}
	}
}

// Growth has its own numbers of connections, and so few rounds that it ends.
func TestGrowthIsMeasuredAtEachNumber(t *testing.T) {
	report := mustRun(t, Plan{
		Scenarios: named(t, "growth-speed", "growth-memory"), Stacks: []Stack{Stacks()[0], openssl()},
		Rounds: 6, Slice: time.Millisecond, Growth: []int{2, 7},
	})
	got := make(map[string]int)
	for _, row := range report.Rows {
		if row.Role == Variant {
			got[fmt.Sprint(row.Scenario, " ", row.Connections, " ", row.Stack)] = row.Rounds
		}
	}
	want := map[string]int{
		"growth-speed 2 tlsstream": mostGrowthRounds, "growth-speed 7 tlsstream": mostGrowthRounds,
		"growth-memory 2 tlsstream": 1, "growth-memory 7 tlsstream": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rounds of what was measured: -want +got:\n%s", diff)
	}
}

func TestPlanIsChecked(t *testing.T) {
	for _, test := range []struct {
		plan Plan
		want string
	}{
		{Plan{Rounds: -1}, "Plan.Rounds is -1"},
		{Plan{Rounds: MostRounds + 1}, "Plan.Rounds is 10001"},
		{Plan{Slice: time.Microsecond}, "Plan.Slice is 1µs"},
		{Plan{Slice: time.Hour}, "Plan.Slice is 1h"},
		{Plan{Connections: []int{0}}, "Plan.Connections has 0"},
		{Plan{Connections: []int{1, MostConnections + 1}}, "Plan.Connections has 10001"},
		{Plan{Growth: []int{10, 0}}, "Plan.Growth has 0"},
		{Plan{IdleConnections: -1}, "Plan.IdleConnections is -1"},
		{Plan{Scenarios: named(t, "idle-1MiB"), Stacks: []Stack{openssl()}}, "nothing to measure"},
		{Plan{Sides: []Side{"left"}}, `Plan.Sides has "left"`},
	} {
		if _, err := Run(t.Context(), test.plan); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.plan, err, test.want)
		}
	}
}

// The baseline and its control are there anyway: alone if nothing else is asked for.
func TestStdlibIsMeasuredOnce(t *testing.T) {
	for _, stacks := range [][]Stack{{Stdlib()}, {Stdlib(), slowToy()}} {
		report := mustRun(t, Plan{Scenarios: named(t, "ping-pong-1B"), Stacks: stacks, Rounds: 1, Slice: time.Millisecond})
		report.row(t, Control, "stdlib")
		if got, want := len(report.Rows), 1+len(stacks); got != want {
			t.Errorf("%d rows, want %d", got, want)
		}
	}
}
