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
func nettestOver(t *testing.T, ownRecords, roomForAlerts bool, dial func() (client, server net.Conn, err error)) {
	o := tlsstream.Options{CloseTimeout: 100 * time.Millisecond, OwnRecords: ownRecords} // stop's first Close may have no reader
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

func TestNettestOverTCP(t *testing.T) { nettestOverTCP(t, false) }

func TestNettestOwnRecordsOverTCP(t *testing.T) { nettestOverTCP(t, true) }

func nettestOverTCP(t *testing.T, ownRecords bool) {
	nettestOver(t, ownRecords, true, func() (client, server net.Conn, err error) {
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
	})
}

// Over pipes with buffers of many sizes, down to none, cut into segments or not.
func TestNettestOverPipe(t *testing.T) { nettestOverPipe(t, false) }

func TestNettestOwnRecordsOverPipe(t *testing.T) { nettestOverPipe(t, true) }

func nettestOverPipe(t *testing.T, ownRecords bool) {
	side := func(buffer, segment int) membio.PipeSide {
		return membio.PipeSide{SendBuffer: buffer, ReceiveBuffer: buffer, MaxSegment: segment}
	}
	for _, o := range []membio.PipeOptions{
		{}, // lockstep
		{A: side(20, 0), B: side(20, 0)},
		{A: side(100, 7), B: side(4096, 1000), Seed: 1},
		{A: side(64<<10, 0), B: side(64<<10, 0)},
		{A: side(1<<20, 1460), B: side(1<<20, 1460), Seed: 2},
	} {
		name := fmt.Sprintf("a=%d,%d/b=%d,%d", o.A.SendBuffer, o.A.MaxSegment, o.B.SendBuffer, o.B.MaxSegment)
		t.Run(name, func(t *testing.T) {
			nettestOver(t, ownRecords, o.A.ReceiveBuffer >= 50, func() (client, server net.Conn, err error) {
				a, b := membio.Pipe(o)
				return a, b, nil
			})
		})
	}
}
