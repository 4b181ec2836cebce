//go:build race

package membio

// The race detector makes sync.Pool forget at random, so that allocations
// cannot be counted.
func init() { raceEnabled = true }
