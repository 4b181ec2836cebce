package torture

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
)

// roomyPipe has more room than any test here fills.
func roomyPipe() (a, b *membio.PipeConn) {
	side := membio.PipeSide{SendBuffer: 4 << 20, ReceiveBuffer: 4 << 20}
	return membio.Pipe(membio.PipeOptions{A: side, B: side})
}

// A puppetPair is a puppet, and a stack that has shaken hands with it.
type puppetPair struct {
	*puppet
	conn      Conn             // the stack's end
	transport *membio.PipeConn // the puppet's
}

func newPuppetPair(t *testing.T, stack Stack, client bool) *puppetPair {
	t.Helper()
	id, err := newIdentity(1)
	if err != nil {
		t.Fatal(err)
	}
	serverConfig, clientConfig := id.configs()
	a, b := roomyPipe()
	pair := &puppetPair{transport: a}
	if client {
		pair.puppet, pair.conn = newPuppet(a, clientConfig), stack.Server(b, serverConfig)
	} else {
		pair.puppet, pair.conn = newPuppetServer(a, serverConfig), stack.Client(b, clientConfig)
	}
	done := make(chan error, 1)
	go func() { done <- pair.puppet.Handshake() }()
	if err := pair.conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
		pair.conn.Close()
	})
	return pair
}

// eachPuppet runs a test for a puppet of either kind against crypto/tls and tlsstream.
func eachPuppet(t *testing.T, test func(t *testing.T, p *puppetPair)) {
	for _, stack := range Stacks() {
		for _, client := range []bool{true, false} {
			name := stack.Name + "/puppet server"
			if client {
				name = stack.Name + "/puppet client"
			}
			t.Run(name, func(t *testing.T) { test(t, newPuppetPair(t, stack, client)) })
		}
	}
}

// What a stack must take from any peer.
func TestPuppetSendsEveryLegalRecord(t *testing.T) {
	hello := []byte("hello")
	for _, test := range []struct {
		name string
		send func(p *puppetPair) error
	}{
		{"padding", func(p *puppetPair) error { return p.send(padded(data(hello), 1000)) }},
		{"a full record of padding", func(p *puppetPair) error { return p.send(padded(data(nil), maxPlaintext), data(hello)) }},
		{"empty records", func(p *puppetPair) error { return p.send(data(nil), data(nil), data(hello)) }},
		{"a KeyUpdate", func(p *puppetPair) error { return p.send(keyUpdate(false), data(hello)) }},
		{"a KeyUpdate over five records", func(p *puppetPair) error {
			return p.send(append(fragments(keyUpdate(true), 1), data(hello))...)
		}},
		{"a pause between", func(p *puppetPair) error {
			pauses := 0
			err := p.sendPaused(func() { pauses++ }, data(hello[:1]), keyUpdate(false), data(hello[1:]))
			if pauses != 3 {
				err = errors.Join(err, errors.New("not a pause for each record"))
			}
			return err
		}},
		{"a record in two writes", func(p *puppetPair) error {
			flight, err := p.seal(data(hello))
			if err != nil {
				return err
			}
			_, first := p.Conn.Write(flight[:7])
			_, second := p.Conn.Write(flight[7:])
			return errors.Join(first, second)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachPuppet(t, func(t *testing.T, p *puppetPair) {
				if err := errors.Join(test.send(p), p.CloseWrite()); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(p.conn)
				if string(got) != string(hello) || err != nil {
					t.Errorf("read %q, %v", got, err)
				}
			})
		})
	}
}

// Tickets are for clients; crypto/tls keeps the last one.
func TestPuppetSendsTickets(t *testing.T) {
	for _, test := range []struct {
		name    string
		records []record
	}{
		{"several", tickets(10, 100)},
		{"the largest", tickets(1, 65_000)},
		{"two in one record", []record{handshake(ticketMessage(10, 1), ticketMessage(20, 2))}},
		{"one over many records", fragments(handshake(ticketMessage(100, 1)), 10)},
		{"a ticket and a KeyUpdate in one record", []record{handshake(ticketMessage(10, 1), keyUpdateMessage(false))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, stack := range Stacks() {
				t.Run(stack.Name, func(t *testing.T) {
					p := newPuppetPair(t, stack, false)
					if err := errors.Join(p.send(append(test.records, data([]byte("x")))...), p.CloseWrite()); err != nil {
						t.Fatal(err)
					}
					if got, err := io.ReadAll(p.conn); string(got) != "x" || err != nil {
						t.Errorf("read %q, %v", got, err)
					}
				})
			}
		})
	}
}

// What a stack must not take, and what it must say of it.
func TestPuppetBreaksTheStream(t *testing.T) {
	var fromPeer *net.OpError
	for _, test := range []struct {
		name string
		send func(p *puppetPair) error
		want func(err error) bool
	}{
		{"a fatal alert", func(p *puppetPair) error { return p.send(alert(alertFatal, 80)) },
			func(err error) bool { return errors.As(err, &fromPeer) && fromPeer.Op == "remote error" }},
		{"garbage", func(p *puppetPair) error { return p.send(garbage([]byte("GET / HTTP/1.1\r\n"))) },
			func(err error) bool { return err != io.EOF }},
		{"a stop in a record", func(p *puppetPair) error { return errors.Join(p.sendPart(1, data([]byte("x"))), p.fin()) },
			func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"a reset", func(p *puppetPair) error { return p.reset() },
			func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachPuppet(t, func(t *testing.T, p *puppetPair) {
				if err := test.send(p); err != nil {
					t.Fatal(err)
				}
				n, err := p.conn.Read(make([]byte, 10))
				if n != 0 || err == nil || !test.want(err) {
					t.Errorf("read %d, %v", n, err)
				}
			})
		})
	}
}

// A puppet sees every record of its peer, with its inner type, and follows the peer's KeyUpdates.
func TestPuppetReadsEveryRecord(t *testing.T) {
	eachPuppet(t, func(t *testing.T, p *puppetPair) {
		const requests = 3
		for range requests {
			if err := p.send(keyUpdate(true), data([]byte("?"))); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(p.conn, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.conn.Write([]byte("!")); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.conn.Close(); err != nil {
			t.Fatal(err)
		}
		count := make(map[byte]int)
		for {
			r, err := p.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			count[r.kind]++
			if r.kind == typeApplicationData && string(r.content) != "!" {
				t.Errorf("application data %q", r.content)
			}
		}
		if p.in.updates != requests || count[typeApplicationData] != requests || count[typeAlert] != 1 {
			t.Errorf("%d KeyUpdates, records by type %v", p.in.updates, count)
		}
		if tickets := count[typeHandshake] - requests; p.client && tickets != 1 || !p.client && tickets != 0 {
			t.Errorf("%d tickets", tickets)
		}
	})
}

// twoPuppets have shaken hands with each other.
func twoPuppets(t *testing.T) (client, server *puppet) {
	t.Helper()
	serverConfig, clientConfig := testIdentity(t).configs()
	a, b := roomyPipe()
	client, server = newPuppet(a, clientConfig), newPuppetServer(b, serverConfig)
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// Two puppets can do what crypto/tls cannot: request a KeyUpdate of one another.
func TestPuppetAnswersKeyUpdates(t *testing.T) {
	client, server := twoPuppets(t)
	client.updateEvery, server.updateEvery = 1, 1
	for _, p := range []struct{ from, to *puppet }{{client, server}, {server, client}, {client, server}} {
		if _, err := p.from.Write([]byte("ab")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2)
		if _, err := io.ReadFull(p.to, got); err != nil || string(got) != "ab" {
			t.Fatalf("read %q, %v", got, err)
		}
	}
	// Two requests each time, and one answer to both.
	if server.in.requests != 4 || server.in.updates != 5 || client.in.requests != 2 || client.in.updates != 3 {
		t.Errorf("the server saw %d updates, %d requests, the client %d, %d",
			server.in.updates, server.in.requests, client.in.updates, client.in.requests)
	}
	if err := server.send(alert(alertFatal, 40)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != (alertError{alertFatal, 40}) {
		t.Errorf("after an alert: %v", err)
	}
}

// The keys are the puppet's alone: crypto/tls has read nothing behind its handshake.
func TestPuppetHandshakeSwallowsNothing(t *testing.T) {
	p := newPuppetPair(t, Stdlib(), true)
	if p.transport.Unread() == 0 {
		t.Fatal("crypto/tls sent no ticket")
	}
	r, err := p.next()
	if err != nil || r.kind != typeHandshake || r.content[0] != messageTicket {
		t.Errorf("the record behind the handshake: %v, %v", r, err)
	}
	if p.tls.ConnectionState().Version != tls.VersionTLS13 {
		t.Error("no TLS 1.3")
	}
}

// What no peer may do to the end of its stream, a puppet that reads to the FIN reports.
func TestPuppetReportsABadEnd(t *testing.T) {
	end := alert(alertWarning, 0)
	updates := func(n int) []record {
		var records []record
		for range n {
			records = append(records, keyUpdate(false))
		}
		return records
	}
	for _, test := range []struct {
		name    string
		records []record
		good    bool
	}{
		{"close_notify", []record{end}, true},
		{"a KeyUpdate after close_notify", []record{end, keyUpdate(false)}, false},
		{"data after close_notify", []record{end, data(nil)}, false},
		{"as many KeyUpdates as peers take", append(updates(acceptedUpdates), data(nil), keyUpdate(false), end), true},
		{"more KeyUpdates", append(updates(acceptedUpdates+1), data(nil), end), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, server := twoPuppets(t)
			if err := errors.Join(server.send(test.records...), server.fin()); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("read: %v", err)
			}
			if err := client.finish(); (err == nil) != test.good {
				t.Errorf("finish: %v", err)
			}
		})
	}
}
