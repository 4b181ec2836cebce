package bench

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A driftingMachine becomes half as fast in the course of a run, goes up and down by a third on the way, and stands still
// for a slice now and then: much as shared machines do.
type driftingMachine struct{ slices int }

// take plays a slice. speeds are by pair, of a machine that does not drift.
func (m *driftingMachine) take(speeds map[string]float64) func(*pair) (sample, error) {
	return func(p *pair) (sample, error) {
		m.slices++
		at := float64(m.slices)
		speed := speeds[p.name] * (1 - at/400) * (1 + math.Sin(at/30)/3)
		if m.slices%31 == 0 {
			speed /= 10
		}
		wall := 30 * time.Millisecond
		return sample{wall: wall, units: speed * wall.Seconds(), client: usage{CPU: wall}, server: usage{CPU: wall}}, nil
	}
}

func pairsOf(names ...string) []*pair {
	var all []*pair
	for _, name := range names {
		all = append(all, &pair{name: name, role: Variant, side: Both})
	}
	return all
}

func TestRatiosDoNotShowDrift(t *testing.T) {
	plan := Plan{Rounds: 25}
	m := &measurement{
		plan: &plan, scenario: &Scenarios()[0], stock: &pair{name: "stock"}, variants: pairsOf("control", "slow", "fast"),
		take: (&driftingMachine{}).take(map[string]float64{"stock": 1e6, "control": 1e6, "slow": 0.8e6, "fast": 8e6}),
	}
	for round := range plan.Rounds {
		if err := m.round(t.Context(), round); err != nil {
			t.Fatal(err)
		}
	}
	if first, last := m.stock.samples[0].rate(), m.stock.samples[75].rate(); last > 0.8*first {
		t.Fatalf("the machine does not drift: %v, then %v", first, last)
	}
	for i, want := range []float64{1, 0.8, 8} {
		v := m.variants[i]
		if got := spread(v.ratios); math.Abs(got.Median/want-1) > 0.005 || got.Min < 0.98*want || got.Max > 1.02*want {
			t.Errorf("%s: %+v, want %v", v.name, got, want)
		}
		if got := spread(v.costs); math.Abs(got.Median*want-1) > 0.005 {
			t.Errorf("%s: costs %+v, want %v", v.name, got, 1/want)
		}
	}
}

// Each slice of a variant lies between two of stock, and each variant is first as often as the others.
func TestSlicesAreInterleaved(t *testing.T) {
	plan := Plan{}
	m := &measurement{plan: &plan, scenario: &Scenarios()[0], stock: &pair{name: "."}, variants: pairsOf("a", "b", "c")}
	var played strings.Builder
	m.take = func(p *pair) (sample, error) {
		played.WriteString(p.name)
		return sample{wall: time.Second, units: 1}, nil
	}
	for round := range 4 {
		if err := m.round(t.Context(), round); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(".a.b.c."+".b.c.a."+".c.a.b."+".a.b.c.", played.String()); diff != "" {
		t.Error(diff)
	}
}

func TestVariantThatFailsIsLeftOut(t *testing.T) {
	plan := Plan{}
	m := &measurement{plan: &plan, scenario: &Scenarios()[0], stock: &pair{name: "."}, variants: pairsOf("a", "b")}
	var played strings.Builder
	m.take = func(p *pair) (sample, error) {
		played.WriteString(p.name)
		if p.name == "a" && played.Len() > 5 {
			return sample{}, errors.New("broken")
		}
		return sample{wall: time.Second, units: 1}, nil
	}
	for round := range 3 {
		if err := m.round(t.Context(), round); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(".a.b."+".b.a"+".b.", played.String()); diff != "" {
		t.Error(diff)
	}
	if a, b := m.variants[0], m.variants[1]; a.err == nil || len(a.ratios) != 1 || b.err != nil || len(b.ratios) != 3 {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestSlicesFollowTheMachine(t *testing.T) {
	const wanted = 30 * time.Millisecond
	p := &pair{count: 1000}
	for _, step := range []struct {
		took time.Duration
		want int64
	}{{wanted, 1000}, {wanted * 3 / 2, 1000}, {wanted * 3, 500}, {wanted / 3, 1000}, {wanted / 3, 2000}} {
		if p.follow(step.took, wanted); p.count != step.want {
			t.Errorf("after %v: %d messages, want %d", step.took, p.count, step.want)
		}
	}
	p.count = 1
	if p.follow(time.Hour, wanted); p.count != 1 {
		t.Errorf("%d messages", p.count)
	}
}

// Who interrupts a run is told what of it there is.
func TestReachedSaysHowFarEachCame(t *testing.T) {
	plan := Plan{Rounds: 25, Scenarios: named(t, "bulk-4KiB", "ping-pong-1B", "idle-1MiB"), Stacks: []Stack{slowToy()}}
	if err := plan.complete(); err != nil {
		t.Fatal(err)
	}
	measurements := plan.measurements()
	for i, played := range []int{25, 25, 25, 2} {
		measurements[i].begun, measurements[i].played = true, played
	}
	want := []string{"measured to the end: bulk-4KiB with 1 connection, bulk-4KiB with 8 connections, ping-pong-1B", "idle-1MiB came to 2 of 3 stacks"}
	if diff := cmp.Diff(want, reached(measurements)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
