package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A half is one role of the side under test: a server or a client over a Conn,
// with a puppet for its peer.
type half struct {
	name string
	// start returns the side under test, over transport, after the
	// handshake with a puppet on peer.
	start func(t *testing.T, l layered, transport, peer net.Conn) (*tls.Conn, *puppet, func() Stats)
}

var halves = []half{
	{"server", func(t *testing.T, l layered, transport, peer net.Conn) (*tls.Conn, *puppet, func() Stats) {
		server, stats := l.server(transport, testCA.ServerConfig())
		return server, newPuppetClient(t, server, peer, resumable()), stats
	}},
	{"client", func(t *testing.T, l layered, transport, peer net.Conn) (*tls.Conn, *puppet, func() Stats) {
		stats := func() Stats { return Stats{} }
		config := resumable()
		if l.defers {
			c := WrapConn(transport)
			transport, config, stats = c, WrapConfig(config), c.Stats
		}
		client := tls.Client(transport, config)
		return client, newPuppetServer(t, client, peer, testCA.ServerConfig()), stats
	}},
}

// flood makes p send n times a KeyUpdate(update_requested) and one byte, and c
// read them all, while p reads nothing.
func flood(t *testing.T, p *puppet, c net.Conn, n int) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		var flight []byte
		for i := range n {
			flight = p.sealData(p.sealUpdate(flight, keyUpdateRequested), string('a'+byte(i%26)))
			if len(flight) > 32<<10 || i == n-1 {
				if _, err := p.Write(flight); err != nil {
					sent <- err
					return
				}
				flight = flight[:0]
			}
		}
		sent <- nil
	}()
	got := mustRead(t, c, n)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if b != 'a'+byte(i%26) {
			t.Fatalf("byte %d is %q", i, b)
		}
	}
}

func TestTurnKeyUpdateAnswersWaitForData(t *testing.T) {
	for _, l := range layers {
		for _, h := range halves {
			t.Run(l.name+"/"+h.name, func(t *testing.T) {
				a, b := tlstest.TCPPair(t)
				wire := &recorder{Conn: a}
				c, p, stats := h.start(t, l, wire, b)
				for _, n := range []int{1, maxHeldKeyUpdates, maxHeldKeyUpdates + 1, 100} {
					wire.take()
					flood(t, p, c, n)
					wrote := len(wire.take())
					if !l.defers {
						mustEqual(t, "stock's writes", n, max(wrote-1, n)) // its ticket was one more
						if wrote == 0 {
							t.Error("the control wrote nothing: this test proves nothing")
						}
						continue
					}
					mustEqual(t, "writes", 0, wrote)
					if held := stats().HeldBytes; held > 2048 {
						t.Errorf("%d bytes held", held)
					}
					// Several writes: the first takes the held along, the
					// next ones go alone.
					for i, word := range []string{"first", "second, longer", "x", "", "ab", "five!"} {
						mustWrite(t, c, []byte(word))
						p.expect(t, word)
						if wrote := len(wire.take()); wrote != min(1, len(word)) {
							t.Errorf("%d writes for response %d", wrote, i)
						}
					}
				}
				if !l.defers {
					return
				}
				mustEqual(t, "updates answered", 1+maxHeldKeyUpdates+1+1, p.updates)
				mustEqual(t, "updates written", int64(1+maxHeldKeyUpdates+maxHeldKeyUpdates+1+100), stats().KeyUpdates)
				if alert, err := readEnd(p, c); err != nil || !bytes.Equal(alert, closeNotify) {
					t.Errorf("at the end the peer read %d, %v", alert, err)
				}
			})
		}
	}
}

// A flood that no peer can be told to stop costs no memory, and what is
// written afterwards opens.
func TestBoundedKeyUpdateFlood(t *testing.T) {
	for _, h := range halves {
		t.Run(h.name, func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			c, p, stats := h.start(t, layers[0], a, b)
			flood(t, p, c, map[string]int{"server": 20000, "client": 2000}[h.name])
			if held := stats().HeldBytes; held > 2048 {
				t.Errorf("%d bytes held", held)
			}
			response := strings.Repeat("0123456789abcdef", 4096)
			go c.Write([]byte(response))
			p.expect(t, response)
			mustEqual(t, "updates answered", 1, p.updates)
			flood(t, p, c, 1000)
			if alert, err := readEnd(p, c); err != nil || !bytes.Equal(alert, closeNotify) {
				t.Errorf("at the end the peer read %d, %v", alert, err)
			}
			mustEqual(t, "updates answered", 2, p.updates)
		})
	}
}

// Rounds of any number of requests and any responses between them, for all
// suites and with the ticket still held at first.
func TestEveryLegalKeyUpdateLoadWorksOverConn(t *testing.T) {
	for _, s := range suites {
		t.Run(tls.CipherSuiteName(s.id), func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			conn, log := WrapConn(a), new(keyLog)
			server := tls.Server(conn, WrapConfig(testCA.ServerConfig()))
			client := utlsClient(t, &exactReader{Conn: b}, s.id, log)
			shake(t, server, client)
			p := newPuppet(t, b, s.id, log, labelClientTraffic, labelServerTraffic)
			mustEqual(t, "held", 1, conn.Stats().HeldRecords)
			for round := range 24 {
				flood(t, p, server, 1+round*5%13)
				for i := range round % 4 {
					word := strings.Repeat("w", 1+(round*7+i*5)%40)
					mustWrite(t, server, []byte(word))
					p.expect(t, word)
				}
				if round%5 == 0 {
					if err := conn.FlushTickets(); err != nil {
						t.Fatal(err)
					}
				}
			}
			stats := conn.Stats()
			mustEqual(t, "deferral", DeferralOn.String(), stats.Deferral.String())
			if stats.CollapsedKeyUpdates == 0 {
				t.Error("nothing collapsed")
			}
			if alert, err := readEnd(p, server); err != nil || !bytes.Equal(alert, closeNotify) {
				t.Errorf("at the end the peer read %d, %v", alert, err)
			}
		})
	}
}

// crypto/tls refuses the 17th KeyUpdate in a row without data between. Its
// alert takes the held answers along, under the keys that the peer is in.
func TestOrderFatalAlertAfterTooManyKeyUpdates(t *testing.T) {
	for _, h := range halves {
		t.Run(h.name, func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			c, p, _ := h.start(t, layers[0], a, b)
			flood(t, p, c, 1)
			var flight []byte
			for range 17 {
				flight = p.sealUpdate(flight, keyUpdateRequested)
			}
			mustWrite(t, p, flight)
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Fatalf("Read = %d", n)
			}
			contentType, content, err := p.next()
			if contentType == recordHandshake { // the server's ticket
				contentType, content, err = p.next()
			}
			if err != nil || contentType != recordAlert {
				t.Fatalf("the peer read a record of type %d, %v", contentType, err)
			}
			mustEqual(t, "alert", []byte{2, 10}, content) // unexpected_message
			if _, err := readEnd(p, c); err != nil {
				t.Error(err)
			}
		})
	}
}

// An application that writes while it reads has its answers go out in between,
// and both streams stay whole.
func TestOrderFullDuplexWithKeyUpdates(t *testing.T) {
	for _, h := range halves {
		t.Run(h.name, func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			c, p, stats := h.start(t, layers[0], a, b)
			const words = 300
			written := make(chan error, 1)
			go func() {
				for i := range words {
					if _, err := fmt.Fprintf(c, "%0*d", 1+i%30, i); err != nil {
						written <- err
						return
					}
				}
				written <- nil
			}()
			flood(t, p, c, 3000)
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			want := ""
			for i := range words {
				want += fmt.Sprintf("%0*d", 1+i%30, i)
			}
			p.expect(t, want)
			if n := stats().KeyUpdates; n != 3000 {
				t.Errorf("%d KeyUpdates written", n)
			}
		})
	}
}
