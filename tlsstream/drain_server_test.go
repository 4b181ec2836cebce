package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A refusedDrain is a server's Close after it has refused its client.
type refusedDrain struct {
	name    string
	options tlsstream.Options

	// before and after are done around Close.
	before, after func(*tlsstream.Conn)
	// client is what the refused client does on its transport.
	client func(net.Conn)

	// lives is how long the transport stays open.
	lives time.Duration
}

var refusedDrains = []refusedDrain{
	{name: "silent client", lives: drainDefault},
	{name: "DrainTimeout", options: tlsstream.Options{DrainTimeout: 300 * time.Millisecond}, lives: 300 * time.Millisecond},
	{name: "no DrainTimeout", options: tlsstream.Options{DrainTimeout: -1}, lives: 0},
	{name: "client that closes", client: func(c net.Conn) {
		time.Sleep(time.Second)
		c.Close()
	}, lives: time.Second},
	{name: "client that sends on", client: func(c net.Conn) {
		for {
			if _, err := c.Write([]byte{1}); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}, lives: drainDefault},
	{name: "deadline that has passed", before: func(c *tlsstream.Conn) { c.SetDeadline(time.Unix(1, 0)) }, lives: drainDefault},
	{name: "deadline set afterwards", after: func(c *tlsstream.Conn) { c.SetDeadline(time.Now().Add(time.Hour)) }, lives: drainDefault},
	{name: "no deadline afterwards", after: func(c *tlsstream.Conn) { c.SetReadDeadline(time.Time{}) }, lives: drainDefault},
}

func (d *refusedDrain) run(t *testing.T) {
	ours, theirs := net.Pipe()
	transport := &drainPipe{Conn: ours}
	serverConfig := endCA.ServerConfig()
	certificateNeeded(nil, serverConfig)
	server := d.options.Server(transport, serverConfig)
	failed := make(chan error, 1)
	go func() { failed <- server.Handshake() }()
	client := tls.Client(theirs, endCA.ClientConfig())
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); alertOfAny(err) != tlsstream.AlertCertificateRequired {
		t.Errorf("the client was told %v", err)
	}
	if err := <-failed; alertIn(err) != (alertSeen{tlsstream.AlertCertificateRequired, false}) {
		t.Errorf("the server was told %v", err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if d.client != nil {
			d.client(theirs)
		}
	}()
	if d.before != nil {
		d.before(server)
	}
	began := time.Now()
	if err := server.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(began); took != 0 {
		t.Errorf("Close took %v", took)
	}
	if d.after != nil {
		d.after(server)
	}
	if err := server.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close returned %v", err)
	}
	synctest.Wait()
	if d.lives > 0 {
		time.Sleep(d.lives - time.Nanosecond)
		synctest.Wait()
		if transport.closed.Load() != 0 || transport.shut.Load() != 1 {
			t.Errorf("before its time: closed %d times, shut down %d times", transport.closed.Load(), transport.shut.Load())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
	}
	if transport.closed.Load() != 1 {
		t.Errorf("after its time: closed %d times", transport.closed.Load())
	}
	theirs.Close()
	<-gone
}

// A server that refuses a client goes on to the next at once. The client has a
// bounded time to see why.
func TestRefusedClientIsDrainedInTheBackground(t *testing.T) {
	for _, d := range refusedDrains {
		t.Run(d.name, func(t *testing.T) { synctest.Test(t, d.run) })
	}
}

// A handshake that has not failed for good is owed no answer.
func TestServerClosesAtOnceAfterATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		transport := &drainPipe{Conn: ours}
		server := tlsstream.Server(transport, endCA.ServerConfig())
		server.SetDeadline(time.Now().Add(time.Second))
		if err := server.Handshake(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if server.Close(); transport.closed.Load() != 1 {
			t.Errorf("closed %d times", transport.closed.Load())
		}
	})
}
