package tlsstream_test

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// nettestOver runs the conformance test of package net over streams on the
// transports that dial makes. crypto/tls fails three of its parts, for which a
// timed-out Write must not be the end.
func nettestOver(t *testing.T, o tlsstream.Options, roomForAlerts bool, dial func() (client, server net.Conn, err error)) {
	o.CloseTimeout = 100 * time.Millisecond // stop's first Close may have no reader
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b, err := dial()
		if err != nil {
			return nil, nil, nil, err
		}
		client, server := o.Client(a, testCA.ClientConfig()), o.Server(b, testCA.ServerConfig())
		stop = func() {
			client.Close()
			server.Close()
		}
		if err := handshakeBoth(client, server); err != nil {
			stop()
			return nil, nil, nil, err
		}
		if !roomForAlerts {
			return lastToClose{client}, lastToClose{server}, stop, nil
		}
		return client, server, stop, nil
	})
}

// lastToClose forgives a Close that it was second. On a transport without room
// for close_notify nobody is there to take it, and Close says so; nettest wants
// nil.
type lastToClose struct{ *tlsstream.Conn }

func (c lastToClose) Close() error {
	err := c.Conn.Close()
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

func TestNettestOverTCP(t *testing.T) { nettestOver(t, tlsstream.Options{}, true, dialTCP) }

func TestNettestOwnRecordsOverTCP(t *testing.T) { nettestOver(t, ownOptions, true, dialTCP) }

func dialTCP() (client, server net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	server, err = l.Accept()
	return client, server, err
}

// It is no less a net.Conn for writing behind, with room for everything or for
// next to nothing.
func TestNettestWithWriteBehind(t *testing.T) {
	for _, limit := range []int{7, 1 << 20} {
		t.Run(fmt.Sprintf("TCP/limit=%d", limit), func(t *testing.T) { nettestOver(t, tlsstream.Options{WriteBehind: limit}, true, dialTCP) })
		t.Run(fmt.Sprintf("pipe/limit=%d", limit), func(t *testing.T) {
			nettestOver(t, tlsstream.Options{WriteBehind: limit}, false, func() (client, server net.Conn, err error) {
				a, b := membio.Pipe(membio.PipeOptions{})
				return a, b, nil
			})
		})
	}
}

// Over pipes with buffers of many sizes, down to none, cut into segments or not.
func TestNettestOverPipe(t *testing.T) { nettestOverPipe(t, tlsstream.Options{}) }

func TestNettestOwnRecordsOverPipe(t *testing.T) { nettestOverPipe(t, ownOptions) }

func nettestOverPipe(t *testing.T, o tlsstream.Options) {
	side := func(buffer, segment int) membio.PipeSide {
		return membio.PipeSide{SendBuffer: buffer, ReceiveBuffer: buffer, MaxSegment: segment}
	}
	for _, p := range []membio.PipeOptions{
		{}, // lockstep
		{A: side(20, 0), B: side(20, 0)},
		{A: side(100, 7), B: side(4096, 1000), Seed: 1},
		{A: side(64<<10, 0), B: side(64<<10, 0)},
		{A: side(1<<20, 1460), B: side(1<<20, 1460), Seed: 2},
	} {
		name := fmt.Sprintf("a=%d,%d/b=%d,%d", p.A.SendBuffer, p.A.MaxSegment, p.B.SendBuffer, p.B.MaxSegment)
		t.Run(name, func(t *testing.T) {
			nettestOver(t, o, p.A.ReceiveBuffer >= 50, func() (client, server net.Conn, err error) {
				a, b := membio.Pipe(p)
				return a, b, nil
			})
		})
	}
}
