package ticketdefer_test

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A drainPipe is an end of a net.Pipe whose sending side can be shut down, as far
// as it says.
type drainPipe struct {
	net.Conn
	shut, closed atomic.Int32
}

func (c *drainPipe) CloseWrite() error {
	c.shut.Add(1)
	return nil
}

func (c *drainPipe) Close() error {
	c.closed.Add(1)
	return c.Conn.Close()
}

// refuseClient runs a handshake that the server ends with an alert, if refuse is
// set. It returns the server's connection, and its transport.
func refuseClient(t *testing.T, ca *tlstest.CA, refuse bool) (server *tls.Conn, layer *ticketdefer.Conn, transport *drainPipe, client net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	transport = &drainPipe{Conn: ours}
	config := ca.ServerConfig()
	if refuse {
		config.ClientAuth = tls.RequireAnyClientCert
	}
	layer = ticketdefer.WrapConn(transport)
	server = tls.Server(layer, ticketdefer.WrapConfig(config))
	handshake := make(chan error, 1)
	go func() { handshake <- server.Handshake() }()
	c := tls.Client(theirs, ca.ClientConfig())
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if refuse {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the client was not refused")
		}
	}
	if err := <-handshake; (err != nil) != refuse {
		t.Fatal(err)
	}
	return server, layer, transport, theirs
}

// A server that has refused its client closes without waiting, and the transport
// stays for a bounded time, which nobody can make longer.
func TestCloseAfterARefusalDrainsInTheBackground(t *testing.T) {
	const within = 2 * time.Second // as Close's doc says
	ca := tlstest.NewCA()
	synctest.Test(t, func(t *testing.T) {
		server, layer, transport, client := refuseClient(t, ca, true)
		defer client.Close()
		began := time.Now()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 || transport.shut.Load() != 1 || transport.closed.Load() != 0 {
			t.Errorf("Close took %v; shut down %d times, closed %d times", took, transport.shut.Load(), transport.closed.Load())
		}
		if err := errors.Join(layer.SetDeadline(time.Time{}), layer.SetReadDeadline(time.Time{})); err != nil {
			t.Error(err)
		}
		if err := layer.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the second Close returned %v", err)
		}
		time.Sleep(within - time.Nanosecond)
		synctest.Wait()
		if transport.closed.Load() != 0 {
			t.Error("closed before its time, though the client is there")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if transport.closed.Load() == 0 {
			t.Error("still open")
		}
	})
}

func TestCloseWithoutARefusalClosesAtOnce(t *testing.T) {
	ca := tlstest.NewCA()
	synctest.Test(t, func(t *testing.T) {
		server, _, transport, client := refuseClient(t, ca, false)
		defer client.Close()
		go func() { // takes close_notify
			for b := make([]byte, 1<<10); ; {
				if _, err := client.Read(b); err != nil {
					return
				}
			}
		}()
		if err := server.Close(); err != nil || transport.closed.Load() != 1 {
			t.Errorf("%v; closed %d times", err, transport.closed.Load())
		}
	})
}
