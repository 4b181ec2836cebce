package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTimeOf is the time, user's and system's, that another process has been running on processors.
func cpuTimeOf(pid int) time.Duration {
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of include/linux/posix-timers.h, which clock_getcpuclockid(3) returns.
	clock := int32(^pid)<<3 | 2
	var t unix.Timespec
	if unix.ClockGettime(clock, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
