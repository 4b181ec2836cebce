package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{4, 1}, 2.5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 2, 4}, 3},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("%v: %v, want %v", test.values, got, test.want)
		}
	}
}

func TestSpreadIsOfBlocksOfFiveRounds(t *testing.T) {
	for _, test := range []struct {
		rounds []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{2}, Spread{2, 2, 2}},
		{[]float64{1, 2, 30, 4}, Spread{3, 3, 3}},
		// One wild round in each of two blocks moves nothing.
		{[]float64{1, 1, 99, 1, 1, 2, 2, 2, 0, 2}, Spread{1.5, 1, 2}},
		// Four rounds more make the blocks longer.
		{[]float64{1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3}, Spread{2, 1, 3}},
		{[]float64{1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 9, 9, 9, 9, 9}, Spread{2, 1, 9}},
	} {
		if diff := cmp.Diff(test.want, spread(test.rounds)); diff != "" {
			t.Errorf("%v: -want +got:\n%s", test.rounds, diff)
		}
	}
}

func TestSpreadDoesNotReorder(t *testing.T) {
	rounds := []float64{3, 1, 2}
	spread(rounds)
	if diff := cmp.Diff([]float64{3, 1, 2}, rounds); diff != "" {
		t.Error(diff)
	}
}
