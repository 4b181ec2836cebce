//go:build unix

package membio

import (
	"os"
	"syscall"
)

const hasSockets = true

// writeNow writes what the kernel takes without waiting. Errors are for the next
// Write of the connection to find.
func writeNow(fd uintptr, p []byte) int {
	for {
		n, err := syscall.Write(int(fd), p)
		if err == syscall.EINTR {
			continue
		}
		return max(0, n)
	}
}

// readNow reads what there is. It reports whether there is nothing.
func readNow(fd uintptr, p []byte) (n int, wait bool, err error) {
	for {
		n, err := syscall.Read(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, true, nil
		case err != nil:
			return 0, false, os.NewSyscallError("read", err)
		}
		return n, false, nil
	}
}
