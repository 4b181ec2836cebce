package torture

import (
	"errors"

	"golang.org/x/sys/windows"
)

func setBuffers(fd uintptr, bytes int) error {
	return errors.Join(
		windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_SNDBUF, bytes),
		windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF, bytes))
}
