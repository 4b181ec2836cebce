package torture

import (
	"errors"

	"golang.org/x/sys/windows"
)

func setBuffers(fd uintptr, send, receive int) error {
	return errors.Join(
		windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_SNDBUF, send),
		windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF, receive))
}
