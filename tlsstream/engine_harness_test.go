package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// everything is a chunk that no flight fills.
const everything = 1 << 20

// carry feeds all that is due from one engine to the other, chunk bytes at a
// time, and calls step after each Feed, if step is not nil.
func carry(t testing.TB, from, to *tlsstream.Engine, chunk int, step func()) {
	t.Helper()
	p := make([]byte, chunk)
	for {
		n, err := from.Take(p)
		if n == 0 {
			if err != nil && from.Pending() > 0 {
				t.Fatalf("Take: %v with %d bytes pending", err, from.Pending())
			}
			return
		}
		for q := p[:n]; len(q) > 0; {
			k, err := to.Feed(q)
			if err != nil && (!errors.Is(err, tlsstream.ErrInputFull) || step == nil) {
				t.Fatalf("Feed: %v", err)
			}
			q = q[k:]
			if step != nil {
				step()
			}
		}
	}
}

// joinEngines runs both handshakes, with what is due going across in chunks.
func joinEngines(t testing.TB, client, server *tlsstream.Engine, chunk int) {
	t.Helper()
	step := func(name string, e *tlsstream.Engine) func() {
		return func() {
			t.Helper()
			if err := e.Handshake(); err != nil && err != tlsstream.ErrWantRead {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	for range 8 {
		step("client", client)()
		carry(t, client, server, chunk, step("server", server))
		carry(t, server, client, chunk, step("client", client))
		if client.ConnectionState().HandshakeComplete && server.ConnectionState().HandshakeComplete {
			return
		}
	}
	t.Fatal("the handshake does not end")
}

// newEngines returns two engines that have shaken hands, and closes them when
// the test ends.
func newEngines(t testing.TB, clientConfig, serverConfig *tls.Config, chunk int) (client, server *tlsstream.Engine) {
	t.Helper()
	client = tlsstream.NewClientEngine(clientConfig)
	server = tlsstream.NewServerEngine(serverConfig)
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	joinEngines(t, client, server, chunk)
	return client, server
}

// readReady reads until the engine wants more or fails, and returns the error.
func readReady(e *tlsstream.Engine) (got []byte, err error) {
	p := make([]byte, 32<<10)
	for {
		n, err := e.Read(p)
		got = append(got, p[:n]...)
		if err != nil {
			return got, err
		}
	}
}

// send writes p to one engine and returns what the other reads of it.
func send(t testing.TB, from, to *tlsstream.Engine, p []byte, chunk int) []byte {
	t.Helper()
	var got []byte
	receive := func() {
		t.Helper()
		q, err := readReady(to)
		if err != tlsstream.ErrWantRead {
			t.Fatalf("Read: %v", err)
		}
		got = append(got, q...)
	}
	for {
		n, err := from.Write(p)
		if err != nil && err != tlsstream.ErrWantWrite {
			t.Fatalf("Write: %v", err)
		}
		p = p[n:]
		carry(t, from, to, chunk, receive)
		if len(p) == 0 {
			return got
		}
	}
}

// takeAll takes all that is due.
func takeAll(e *tlsstream.Engine) []byte {
	p := make([]byte, e.Pending())
	n, _ := e.Take(p)
	return p[:n]
}
