//go:build unix

package bench

import "golang.org/x/sys/unix"

// allowFiles lets this process and those that it starts have n files open, if it may, and returns how many they can.
func allowFiles(n int) int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return n // dialling will tell
	}
	if uint64(limit.Cur) >= uint64(n) {
		return n
	}
	raised := limit
	raised.Cur = max(raised.Cur, raised.Max)
	if uint64(raised.Max) < uint64(n) {
		raised.Cur, raised.Max = toLimit(raised.Cur, n), toLimit(raised.Max, n) // only root may
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return int(min(uint64(raised.Cur), uint64(n)))
	}
	limit.Cur = limit.Max
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	}
	return int(min(uint64(limit.Cur), uint64(n)))
}

// toLimit gives n the type that a limit has on this system.
func toLimit[T int64 | uint64](_ T, n int) T { return T(n) }
