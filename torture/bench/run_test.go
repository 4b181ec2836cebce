package bench

import (
	"context"
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

// What takes a quarter longer has 0.8 of the rate, and what is the same has the same. The margins are wide, for other
// tests run at the same time.
func TestRatioShowsWhatIsSlower(t *testing.T) {
	report := mustRun(t, Plan{
		Scenarios: named(t, "ping-pong-1KiB"), Stacks: []Stack{slowToy()}, Rounds: 15, Slice: 10 * time.Millisecond,
	})
	slow, control := report.row(t, Variant, "slow-toy"), report.row(t, Control, "stdlib")
	if slow.Error != "" || slow.Ratio.Median < 0.65 || slow.Ratio.Median > 0.92 {
		t.Errorf("a stack that takes 5/4 of the time: %+v", slow)
	}
	if control.Error != "" || control.Ratio.Median < 0.85 || control.Ratio.Median > 1.15 {
		t.Errorf("stock against stock: %+v", control)
	}
	if slow.Rounds != 15 || control.Rounds != 15 || slow.Ratio.Min > slow.Ratio.Median || slow.Ratio.Max < slow.Ratio.Median {
		t.Errorf("%+v\n%+v", slow, control)
	}
	if slow.ClientCPU <= control.ClientCPU {
		t.Errorf("the slow client used %v a message, stock %v", slow.ClientCPU, control.ClientCPU)
	}
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
	report := mustRun(t, Plan{Rounds: 1, Slice: time.Millisecond, Connections: []int{1, 3}, IdleConnections: 20})
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
		Scenarios: named(t, "ping-pong-1B", "ping-pong-64B"), Rounds: 100, Slice: time.Millisecond,
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
	for _, row := range report.Rows {
		if row.Scenario != "ping-pong-1B" || row.Error != "" || row.Rounds != 2 {
			t.Errorf("%+v", row)
		}
	}
}

func TestPlanIsChecked(t *testing.T) {
	for _, test := range []struct {
		plan Plan
		want string
	}{
		{Plan{Rounds: -1}, "Plan.Rounds is -1"},
		{Plan{Rounds: mostRounds + 1}, "Plan.Rounds is 10001"},
		{Plan{Slice: time.Microsecond}, "Plan.Slice is 1µs"},
		{Plan{Slice: time.Hour}, "Plan.Slice is 1h"},
		{Plan{Connections: []int{0}}, "Plan.Connections has 0"},
		{Plan{Connections: []int{1, mostConnections + 1}}, "Plan.Connections has 10001"},
		{Plan{Sides: []Side{"left"}}, `Plan.Sides has "left"`},
	} {
		if _, err := Run(t.Context(), test.plan); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.plan, err, test.want)
		}
	}
}
