package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// dialTCP connects two sockets whose buffers have the given sizes in bytes, or the system's own if they are zero. The
// sizes must be set before the connection is made: the first window follows from them.
func dialTCP(send, receive int) (client, server net.Conn, err error) {
	control := func(_, _ string, c syscall.RawConn) error {
		if send == 0 || receive == 0 {
			return nil
		}
		var failed error
		err := c.Control(func(fd uintptr) { failed = setBuffers(fd, send, receive) })
		return errors.Join(err, failed)
	}
	config := net.ListenConfig{Control: control}
	ln, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("torture: no loopback listener: %w", err)
	}
	defer ln.Close()
	dialer := net.Dialer{Control: control}
	client, err = dialer.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, fmt.Errorf("torture: no loopback connection: %w", err)
	}
	server, err = ln.Accept()
	if err != nil {
		client.Close()
		return nil, nil, fmt.Errorf("torture: no loopback connection: %w", err)
	}
	return client, server, nil
}
