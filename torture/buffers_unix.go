//go:build unix

package torture

import (
	"errors"

	"golang.org/x/sys/unix"
)

func setBuffers(fd uintptr, send, receive int) error {
	return errors.Join(
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, send),
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receive))
}
