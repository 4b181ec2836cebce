package tlsstream_test

import (
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A lateConn is a connection whose Read, once it is held, brings what was on its
// way when the connection was closed.
type lateConn struct {
	net.Conn
	held    atomic.Bool
	entered chan struct{} // a Read is here
	late    chan []byte
}

func (c *lateConn) Read(p []byte) (int, error) {
	if !c.held.Load() {
		return c.Conn.Read(p)
	}
	c.entered <- struct{}{}
	record, ok := <-c.late
	if !ok {
		return 0, net.ErrClosed
	}
	return copy(p, record), nil
}

// A Read that Close overtakes may find a request for new keys, whose answer has
// nowhere to go. It is not the peer's fault, and no record comes out of step.
func TestReadThatCloseOvertakesFindsNoFault(t *testing.T) {
	clientConn, serverConn := tlstest.TCPPair(t)
	transport := &lateConn{Conn: clientConn, entered: make(chan struct{}, 9), late: make(chan []byte)}
	client := (&tlsstream.Options{DrainTimeout: -1}).Client(transport, endCA.ClientConfig())
	peer := scriptPeer(t, serverConn, false, endCA.ServerConfig(), client.Handshake)
	transport.held.Store(true)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := client.Read(make([]byte, 1)); err != nil {
				ended <- err
				return
			}
		}
	}()
	<-transport.entered
	request := peer.out.Seal(nil, contentHandshake, keyUpdate(1))
	if err := peer.out.Update(); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	transport.late <- slices.Concat(request, peer.out.Seal(nil, contentData, []byte("x")))
	close(transport.late)
	if err := <-ended; !errors.Is(err, net.ErrClosed) || alertIn(err) != (alertSeen{}) {
		t.Errorf("Read: %v", err)
	}
	if err := client.Err(); !errors.Is(err, net.ErrClosed) || alertIn(err) != (alertSeen{}) {
		t.Errorf("Err: %v", err)
	}
}
