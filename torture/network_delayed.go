package torture

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// delay is what every packet of network delayed takes, one way.
const delay = 2 * time.Millisecond

// delayed is a network with a round trip: two network namespaces, and between them a relay of our own, since many
// kernels have no netem. A packet, not a stream, is what it delays, so that resets and windows are the kernel's.
func delayed() Network {
	return Network{
		Name:         "delayed",
		About:        "kernel TCP between two network namespaces of Linux, 2 ms each way; needs root and /dev/net/tun",
		StallAfter:   tcpStall,
		MaxSizeBytes: 1 << 20,
		RunsPerTrial: 5,
		Dial: func(uint64) (net.Conn, net.Conn, error) {
			client, server, hang, err := dialNamespaces()
			if err != nil {
				return nil, nil, err
			}
			open := new(atomic.Int32)
			open.Store(2)
			end := func(conn *net.TCPConn) *delayedConn {
				return &delayedConn{TCPConn: conn, closed: sync.OnceFunc(func() {
					if open.Add(-1) == 0 {
						hang()
					}
				})}
			}
			return end(client), end(server), nil
		},
	}
}

// A delayedConn takes its network down when both ends are closed.
type delayedConn struct {
	*net.TCPConn
	closed func()
}

// Close closes the conn.
func (c *delayedConn) Close() error {
	defer c.closed()
	return c.TCPConn.Close()
}

type meteredDelayed struct {
	*delayedConn
	*meter
}

func (c meteredDelayed) Read(p []byte) (int, error)  { return c.read(c.delayedConn.Read, p) }
func (c meteredDelayed) Write(p []byte) (int, error) { return c.write(c.delayedConn.Write, p) }
