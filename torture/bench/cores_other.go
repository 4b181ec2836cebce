//go:build !linux

package bench

// onHalf cannot choose the cores here.
func onHalf(_ int, start func() error) error { return start() }
