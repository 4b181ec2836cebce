package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A chopper is a net.Conn that cuts what passes into pieces: reads, writes, and
// the records of the first flight, as RFC 8446 5.1 lets a peer do.
type chopper struct {
	net.Conn
	read, write int // bytes in one call; 0 for any number
	record      int // bytes of content in a record of handshake type; 0 leaves them alone
}

func (c *chopper) Read(p []byte) (int, error) {
	if c.read > 0 {
		p = p[:min(c.read, len(p))]
	}
	return c.Conn.Read(p)
}

func (c *chopper) Write(p []byte) (int, error) {
	out := p
	if c.record > 0 && len(p) > 0 && p[0] == recordHandshake {
		out = nil
		for rest := p; len(rest) > 0; {
			n := recordHeaderLen + int(rest[3])<<8 + int(rest[4])
			header, body := rest[:3], rest[recordHeaderLen:n]
			rest = rest[n:]
			if header[0] != recordHandshake {
				out = append(append(append(out, header...), byte(len(body)>>8), byte(len(body))), body...)
				continue
			}
			for len(body) > 0 {
				k := min(c.record, len(body))
				out = append(append(append(out, header...), byte(k>>8), byte(k)), body[:k]...)
				body = body[k:]
			}
		}
	}
	for len(out) > 0 {
		n := len(out)
		if c.write > 0 {
			n = min(c.write, n)
		}
		if _, err := c.Conn.Write(out[:n]); err != nil {
			return 0, err
		}
		out = out[n:]
	}
	return len(p), nil
}

var choppers = []chopper{
	{}, {read: 1}, {write: 1}, {read: 1, write: 1}, {read: 6, write: 6}, {read: 44, write: 43},
	{record: 1}, {record: 5, write: 1, read: 1}, {record: 38}, {record: 39, read: 3},
}

// say sends a line in plaintext.
func say(t *testing.T, w io.Writer, r io.Reader, line string) {
	t.Helper()
	exchange(t, w, r, line+"\r\n")
}

// A server speaks plaintext until AUTH TLS, then TLS with its tickets deferred.
func TestServerDefersAfterSTARTTLS(t *testing.T) {
	for _, chop := range choppers {
		t.Run(fmt.Sprintf("read=%d,write=%d,record=%d", chop.read, chop.write, chop.record), func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			wire := &recorder{Conn: a}
			conn := WrapConn(&chopper{Conn: wire, read: chop.read})
			peer := &chopper{Conn: b, write: chop.write, record: chop.record}
			say(t, conn, peer, "220 ready")
			say(t, peer, conn, "AUTH TLS")
			say(t, conn, peer, "234 go ahead")
			mustEqual(t, "stats in plaintext", Stats{}, conn.Stats())
			server, client := tls.Server(conn, WrapConfig(testCA.ServerConfig())), tls.Client(peer, resumable())
			shake(t, server, client)
			exchange(t, client, server, "request")
			wire.take()
			stats := conn.Stats()
			if stats.Deferral != DeferralOn || stats.HeldRecords != 1 {
				t.Fatalf("stats %+v", stats)
			}
			exchange(t, server, client, "response")
			mustEqual(t, "writes", 1, len(wire.take()))
		})
	}
}

// A client does the same; what it holds are KeyUpdate answers.
func TestClientDefersAfterSTARTTLS(t *testing.T) {
	for _, chop := range choppers {
		t.Run(fmt.Sprintf("read=%d,write=%d,record=%d", chop.read, chop.write, chop.record), func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			wire := &recorder{Conn: a}
			conn := WrapConn(wire)
			upper := &chopper{Conn: conn, write: chop.write, read: chop.read, record: chop.record} // above the layer
			say(t, b, upper, "220 ready")
			say(t, upper, b, "STARTTLS")
			say(t, b, upper, "220 go ahead")
			client := tls.Client(upper, WrapConfig(resumable()))
			p := newPuppetServer(t, client, b, testCA.ServerConfig())
			exchange(t, client, puppetReader{p}, "request")
			wire.take()
			for range 3 {
				mustWrite(t, p, p.sealData(p.sealUpdate(nil, keyUpdateRequested), "five!"))
				mustEqual(t, "read", "five!", string(mustRead(t, client, 5)))
			}
			mustEqual(t, "writes", 0, len(wire.take()))
			mustEqual(t, "held records", 3, conn.Stats().HeldRecords)
			// In pieces, what is due must be the pieces' bytes, and not a
			// piece that happens to be as long.
			for _, word := range []string{"a", "five!", "a longer response"} {
				mustWrite(t, client, []byte(word))
				p.expect(t, word)
			}
			mustEqual(t, "updates", 3, p.updates)
			mustEqual(t, "deferral", DeferralOn.String(), conn.Stats().Deferral.String())
		})
	}
}

// A puppetReader reads a puppet's application data.
type puppetReader struct{ *puppet }

func (p puppetReader) Read(b []byte) (int, error) {
	s, err := p.data(len(b))
	return copy(b, s), err
}

// FTP's CCC: TLS ends with close_notify on both sides, plaintext follows on the
// same connection, and then TLS begins again.
func TestPlaintextAfterCloseNotifyAndTLSAgain(t *testing.T) {
	a, b := tlstest.TCPPair(t)
	wire := &recorder{Conn: a}
	conn, peer := WrapConn(wire), WrapConn(b)
	serverConfig, clientConfig := WrapConfig(testCA.ServerConfig()), WrapConfig(resumable())
	for round := range 3 {
		server, client := tls.Server(conn, serverConfig), tls.Client(peer, clientConfig)
		shake(t, server, client)
		mustEqual(t, "resumed", round > 0, client.ConnectionState().DidResume)
		exchange(t, client, server, "CCC")
		mustEqual(t, "deferral at the server", DeferralOn.String(), conn.Stats().Deferral.String())
		mustEqual(t, "held", 1, conn.Stats().HeldRecords)
		mustEqual(t, "deferral at the client", DeferralOn.String(), peer.Stats().Deferral.String())

		for _, side := range []struct{ from, to *tls.Conn }{{client, server}, {server, client}} {
			if err := side.from.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if n, err := side.to.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("Read = %d, %v, want close_notify", n, err)
			}
		}
		// crypto/tls leaves a write deadline in the past behind.
		conn.SetDeadline(time.Now().Add(testTimeout))
		peer.SetDeadline(time.Now().Add(testTimeout))
		wire.take()
		say(t, peer, conn, "PBSZ 0")
		say(t, conn, peer, "200 OK")
		say(t, peer, conn, "AUTH TLS")
		say(t, conn, peer, "234 again")
		mustEqual(t, "plaintext on the wire", "200 OK\r\n234 again\r\n", string(bytes.Join(wire.take(), nil)))
		if stats := conn.Stats(); stats.Deferral != DeferralOn {
			t.Errorf("the stats of the last session are gone: %+v", stats)
		}
	}
}

// A client that sends something like a ClientHello as a command of the plaintext
// protocol does not turn deferral off for the TLS that follows.
func TestServerDefersAfterAFalseStart(t *testing.T) {
	a, b := tlstest.TCPPair(t)
	conn := WrapConn(a)
	say(t, conn, b, "220 ready")
	say(t, b, conn, string(helloRecords(1000)))
	say(t, conn, b, "500 what?")
	mustEqual(t, "deferral", DeferralNotRecords.String(), conn.Stats().Deferral.String())
	say(t, b, conn, "AUTH TLS")
	say(t, conn, b, "234 go ahead")
	server, client := tls.Server(conn, WrapConfig(testCA.ServerConfig())), tls.Client(b, resumable())
	shake(t, server, client)
	exchange(t, client, server, "request")
	if stats := conn.Stats(); stats.Deferral != DeferralOn || stats.HeldRecords != 1 {
		t.Errorf("stats %+v", stats)
	}
	exchange(t, server, client, "response")
	mustEqual(t, "registered", 0, registered())
}

// What an application writes below TLS passes behind what was held, and Stats
// say that deferral ended there.
func TestGarbageFromTheApplicationPasses(t *testing.T) {
	e := establish(t, layers[0], testCA.ServerConfig(), resumable())
	held := e.stats().HeldBytes
	e.wire.take()
	mustWrite(t, e.server.NetConn(), []byte("garbage"))
	mustWrite(t, e.server.NetConn(), []byte("and more"))
	wire := bytes.Join(e.wire.take(), nil)
	mustEqual(t, "on the wire behind the ticket", "garbageand more", string(wire[held:]))
	mustEqual(t, "deferral", DeferralNotRecords.String(), e.stats().Deferral.String())
}

// A server may end TLS on its own; what the client still asks for is answered
// by nothing, and does not end the server's reading.
func TestKeyUpdatesAfterCloseNotifyAreDiscarded(t *testing.T) {
	for _, l := range layers {
		t.Run(l.name, func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			wire := &recorder{Conn: a}
			server, _ := l.server(wire, testCA.ServerConfig())
			p := newPuppetClient(t, server, b, resumable())
			if err := server.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wire.take()
			var err error
			for i := range 30 {
				mustWrite(t, p, p.sealData(p.sealUpdate(nil, keyUpdateRequested), "data"))
				if _, err = io.ReadFull(server, make([]byte, 4)); err != nil {
					if l.defers {
						t.Fatalf("after %d KeyUpdates: %v", i+1, err)
					}
					break
				}
			}
			if !l.defers && err == nil {
				t.Error("the control did not fail: this test proves nothing")
			}
			if l.defers {
				mustEqual(t, "writes after close_notify", 0, len(wire.take()))
				if alert, err := readEnd(p, server); err != nil || !bytes.Equal(alert, closeNotify) {
					t.Errorf("the peer read %d, %v", alert, err)
				}
			}
		})
	}
}

// readEnd closes c, and reads all that p gets.
func readEnd(p *puppet, c io.Closer) (alert []byte, err error) {
	c.Close()
	return p.end()
}
