package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What does not fit is smaller, and told of; what would be measured twice, or mean nothing, is not measured.
func TestMeasurementsFitTheOpenFiles(t *testing.T) {
	for _, test := range []struct {
		name      string
		limit     int
		scenarios []string
		conns     []int
		want      []int // connections of what is left
		notes     []string
	}{
		{"enough", 100_000, []string{"bulk-4KiB", "idle-1MiB"}, []int{8, 200}, []int{8, 200, 5000}, nil},
		{"the same twice", 100_000, []string{"bulk-4KiB"}, []int{8, 8}, []int{8}, nil},
		{"one is one", 40, []string{"ping-pong-1B"}, nil, []int{1}, nil},
		{"the same once it fits", 40, []string{"bulk-4KiB"}, []int{8, 200}, []int{1}, []string{
			"bulk-4KiB has 1 connection in place of 8: a process may have 40 files open",
			"bulk-4KiB has 1 connection in place of 200: a process may have 40 files open",
		}},
		{"less", 364, []string{"bulk-4KiB", "idle-1MiB"}, []int{200}, []int{100, 300}, []string{
			"bulk-4KiB has 100 connections in place of 200: a process may have 364 files open",
			"idle-1MiB has 300 connections in place of 5000: a process may have 364 files open",
		}},
		{"few", 100, []string{"ping-pong-1B", "idle-handshake", "idle-1MiB"}, nil, []int{1}, []string{
			"a process may have 100 files open (ulimit -n), too few for the 50 connections below which idle would mean nothing",
		}},
		{"very few", 20, []string{"ping-pong-1B", "ping-pong-64B", "bulk-4KiB"}, []int{1, 8}, nil, []string{
			"a process may have 20 files open (ulimit -n), too few for ping-pong-1B, ping-pong-64B, bulk-4KiB",
		}},
	} {
		plan := Plan{Scenarios: named(t, test.scenarios...), Stacks: []Stack{slowToy()}, Connections: test.conns}
		if err := plan.complete(); err != nil {
			t.Fatal(err)
		}
		fitting, notes := fit(plan.measurements(), func(n int) int { return min(n, test.limit) })
		var got []int
		for _, m := range fitting {
			got = append(got, m.conns)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.name, diff)
		}
		if diff := cmp.Diff(test.notes, notes); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.name, diff)
		}
	}
}
