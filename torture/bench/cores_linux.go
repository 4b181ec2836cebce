package bench

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onHalf calls start so that the processes which it starts run on one half of the cores, the first or the second. Where
// there is one core, or the system does not allow it, they run on any.
//
// Else the scheduler decides anew in each slice whether two processes that wait for each other share a core, and
// ping-pong is twice as fast in some slices as in others.
func onHalf(half int, start func() error) error {
	// Affinity is the thread's, and what it starts inherits it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil || all.Count() < 2 {
		return start()
	}
	var some unix.CPUSet
	for cpu, seen := 0, 0; seen < all.Count(); cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		if seen*2/all.Count() == half {
			some.Set(cpu)
		}
		seen++
	}
	if unix.SchedSetaffinity(0, &some) != nil {
		return start()
	}
	defer unix.SchedSetaffinity(0, &all)
	return start()
}
