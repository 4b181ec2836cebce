package tlsstream_test

import (
	"errors"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
	"golang.org/x/net/nettest"
)

func TestNettestOverTCP(t *testing.T) {
	ca := tlstest.NewCA()
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, nil, err
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, nil, nil, err
		}
		server, err := l.Accept()
		if err != nil {
			return nil, nil, nil, err
		}
		c1 = tlsstream.Client(client, ca.ClientConfig())
		c2 = tlsstream.Server(server, ca.ServerConfig())
		done := make(chan error, 1)
		go func() { done <- c2.(*tlsstream.Conn).Handshake() }()
		if err := errors.Join(c1.(*tlsstream.Conn).Handshake(), <-done); err != nil {
			return nil, nil, nil, err
		}
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}
