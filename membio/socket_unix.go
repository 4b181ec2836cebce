//go:build unix

package membio

import (
	"os"
	"syscall"
)

const hasSockets = true

// writeNow writes what the kernel takes without waiting.
func writeNow(fd uintptr, p []byte, more bool) (n int, err error) {
	for {
		if more && msgMore != 0 {
			n, err = syscall.SendmsgN(int(fd), p, nil, nil, msgMore)
		} else {
			n, err = syscall.Write(int(fd), p) // which costs less
		}
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, os.NewSyscallError("write", err) // as the connection names it
		}
		return n, nil
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
