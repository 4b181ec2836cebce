package bench

import "slices"

// blockRounds is how many rounds make a block. The median of a block is not moved by the one round in which something
// else ran on the machine; the spread of the blocks shows what lasted longer.
const blockRounds = 5

// A Spread is the least, the median and the greatest of the medians of blocks of five rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// hasBlocks reports whether so many rounds make several blocks: the least and the greatest of one say nothing.
func hasBlocks(rounds int) bool { return rounds >= 2*blockRounds }

// spread makes blocks of five rounds, in order. What is left over makes the blocks longer: fewer than five rounds are
// one block.
func spread(rounds []float64) Spread {
	if len(rounds) == 0 {
		return Spread{}
	}
	blocks := max(1, len(rounds)/blockRounds)
	medians := make([]float64, blocks)
	for i := range blocks {
		medians[i] = median(rounds[i*len(rounds)/blocks : (i+1)*len(rounds)/blocks])
	}
	return Spread{Median: median(medians), Min: slices.Min(medians), Max: slices.Max(medians)}
}

// median is the mean of the middle two if there is an even number.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
