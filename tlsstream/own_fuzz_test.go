package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A countingCache is a session cache that only counts.
type countingCache struct{ puts int }

func (c *countingCache) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *countingCache) Put(string, *tls.ClientSessionState)        { c.puts++ }

// An ownCase is who is under test.
type ownCase struct{ client, cache bool }

func (c ownCase) String() string { return fmt.Sprintf("client=%v,cache=%v", c.client, c.cache) }

var ownCases = []ownCase{{client: false}, {client: true}, {client: true, cache: true}}

// configs returns configurations under which the peer sends no ticket of its own.
func (c ownCase) configs(log *keyLog, cache *countingCache) (client, server *tls.Config) {
	client, server = testCA.ClientConfig(), testCA.ServerConfig()
	cheap(client, server)
	client.KeyLogWriter = log
	server.SessionTicketsDisabled = c.client
	if c.cache || !c.client {
		client.ClientSessionCache = cache
	}
	return client, server
}

// A scriptedConn carries a handshake, and is then a script: Read returns what was fed, a
// temporary error when that is used up, and at last io.EOF.
type scriptedConn struct {
	net.Conn
	scripted bool
	in, out  bytes.Buffer
	end      bool
	sawEnd   bool
}

func (c *scriptedConn) Read(p []byte) (int, error) {
	switch {
	case !c.scripted:
		return c.Conn.Read(p)
	case c.in.Len() > 0:
		return c.in.Read(p)
	case c.end:
		c.sawEnd = true
		return 0, io.EOF
	}
	return 0, tlsstream.ErrWantRead
}

func (c *scriptedConn) Write(p []byte) (int, error) {
	c.out.Write(p)
	if c.scripted {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// A victim is an endpoint that is fed records.
type victim struct {
	cache countingCache
	conn  *tls.Conn // of crypto/tls alone
	feed  func([]byte)
	end   func()
	read  func([]byte) (int, error)
	sent  func() []byte // all that it has sent, its part of the handshake too
	close func()

	truncated func(error) bool
	peer, own *ticketdefer.Epoch // what the peer seals with; what the victim does
}

// side is how key logs name the victim, and its peer.
func (c ownCase) side() (victim, peer string) {
	if c.client {
		return "CLIENT", "SERVER"
	}
	return "SERVER", "CLIENT"
}

// stockVictim is crypto/tls alone.
func stockVictim(t testing.TB, c ownCase) *victim {
	v, log := &victim{}, &keyLog{}
	clientConfig, serverConfig := c.configs(log, &v.cache)
	a, b := membio.Pipe(wide(1 << 20))
	wire := &scriptedConn{Conn: a}
	var under, other *tls.Conn
	if c.client {
		under, other = tls.Client(wire, clientConfig), tls.Server(b, serverConfig)
	} else {
		under, other = tls.Server(wire, serverConfig), tls.Client(b, clientConfig)
	}
	var peers sync.WaitGroup
	peers.Go(func() {
		if err := other.Handshake(); err != nil {
			t.Error(err)
		}
	})
	if err := under.Handshake(); err != nil {
		t.Fatal(err)
	}
	peers.Wait()
	wire.scripted = true
	v.conn = under
	v.feed = func(p []byte) { wire.in.Write(p) }
	v.end = func() { wire.end = true }
	v.read, v.sent = under.Read, wire.out.Bytes
	v.close = func() { a.Close(); b.Close() }
	v.truncated = func(err error) bool {
		return errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF && wire.sawEnd
	}
	v.keys(t, c, log, under.ConnectionState())
	return v
}

func (v *victim) keys(t testing.TB, c ownCase, log *keyLog, state tls.ConnectionState) {
	us, peer := c.side()
	v.own, v.peer = log.epoch(t, us, state), log.epoch(t, peer, state)
}

// ownVictim is an Engine with its own records.
func ownVictim(t testing.TB, c ownCase) *victim {
	v, log := &victim{}, &keyLog{}
	clientConfig, serverConfig := c.configs(log, &v.cache)
	client, server := ownEngines(t, clientConfig, serverConfig)
	under := server
	if c.client {
		under = client
	}
	var sent []byte
	v.feed = func(p []byte) {
		for len(p) > 0 {
			n, err := under.Feed(p)
			if err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
	}
	v.end, v.read = under.FeedEOF, under.Read
	v.sent = func() []byte {
		sent = append(sent, takeAll(under)...)
		return sent
	}
	v.close = func() { client.Close(); server.Close() }
	v.truncated = func(err error) bool { return errors.Is(err, tlsstream.ErrTruncated) }
	v.keys(t, c, log, under.ConnectionState())
	return v
}

// ownEngines returns two engines with their own records that have shaken hands.
func ownEngines(t testing.TB, clientConfig, serverConfig *tls.Config) (client, server *tlsstream.Engine) {
	t.Helper()
	o := &tlsstream.Options{OwnRecords: true}
	client, server = o.ClientEngine(clientConfig), o.ServerEngine(serverConfig)
	joinEngines(t, client, server, everything)
	for _, e := range []*tlsstream.Engine{client, server} {
		if s := e.Stats().OwnRecords; s != tlsstream.OwnRecordsOn {
			t.Fatalf("OwnRecords is %v", s)
		}
	}
	return client, server
}

// An ownOutcome is what became of a victim.
type ownOutcome struct {
	plain   []byte
	end     string // how its Read ended
	alerts  []byte // descriptions of the alerts that it sent
	updates bool   // it sent a KeyUpdate
	tickets int
}

// play feeds the script and reads with a buffer of so many bytes.
func (v *victim) play(t testing.TB, script []byte, buffer int) (o ownOutcome) {
	defer v.close()
	b := make([]byte, buffer)
	s := &ownScript{rest: script, epoch: v.peer}
	for o.end == "" {
		p, ok := s.next(t)
		v.feed(p)
		if !ok {
			v.end()
		}
		for {
			n, err := v.read(b)
			o.plain = append(o.plain, b[:n]...)
			if err == tlsstream.ErrWantRead {
				break
			}
			if err != nil {
				o.end = v.ending(err)
				break
			}
		}
	}
	o.tickets = v.cache.puts
	for records := v.sent(); len(records) >= 5; {
		n := 5 + int(binary.BigEndian.Uint16(records[3:]))
		kind, content, err := v.own.Open(nil, records[:n])
		records = records[n:]
		switch {
		case err != nil: // of the handshake
		case kind == typeAlert:
			o.alerts = append(o.alerts, content[1])
		case kind == typeHandshake && content[0] == 24:
			o.updates = true
			if err := v.own.Update(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return o
}

func (v *victim) ending(err error) string {
	var op *net.OpError
	var alert *tlsstream.AlertError
	switch {
	case v.truncated(err):
		return "truncated"
	case err == io.EOF:
		return "close_notify"
	case errors.As(err, &alert) && alert.Remote:
		return fmt.Sprintf("remote %d", alert.Alert)
	case errors.As(err, &alert):
		return "local"
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Sprintf("remote %d", op.Err)
	}
	return "local"
}

// An ownScript makes records of a peer's from bytes: whatever a peer could send, and mostly what
// is nearly right.
type ownScript struct {
	rest  []byte
	epoch *ticketdefer.Epoch
}

func (s *ownScript) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *ownScript) bytes(n int) []byte {
	n = min(n, len(s.rest))
	p := s.rest[:n:n]
	s.rest = s.rest[n:]
	return p
}

// next returns what the peer sends next; false if that is the last.
func (s *ownScript) next(t testing.TB) ([]byte, bool) {
	if len(s.rest) == 0 {
		return nil, false
	}
	op := s.byte()
	var out []byte
	seal := func(kind byte, content []byte) { out = s.epoch.Seal(out, kind, content) }
	update := func() {
		if err := s.epoch.Update(); err != nil {
			t.Fatal(err)
		}
	}
	switch op % 16 {
	case 0, 1: // data, padded perhaps
		n, padding := int(s.byte())<<7|int(s.byte()), int(s.byte())%3*int(s.byte())
		inner := append(bytes.Repeat([]byte{op}, min(n, 16600-padding)), typeData)
		inner = append(inner, make([]byte, padding)...)
		seal(inner[len(inner)-1], inner[:len(inner)-1])
	case 2: // KeyUpdate
		seal(typeHandshake, []byte{24, 0, 0, 1, s.byte() % 4 / 2})
		update()
	case 3: // KeyUpdate and data
		seal(typeHandshake, keyUpdateRequest)
		update()
		seal(typeData, s.bytes(1+int(s.byte())))
	case 4, 5: // a ticket, in as many records as you like, with something behind it perhaps
		message := s.ticket()
		if op%16 == 5 {
			message = append(message, s.bytes(int(s.byte())%8)...)
		}
		for pieces := int(s.byte())%4 + 1; len(message) > 0; pieces-- {
			n := min(len(message), 16384, max(len(message)/max(pieces, 1), 1))
			seal(typeHandshake, message[:n])
			message = message[n:]
		}
	case 6:
		seal(typeAlert, s.bytes(2))
	case 7: // change_cipher_spec, sealed or not
		content := s.bytes(int(s.byte()) % 3)
		if s.byte()%2 == 0 {
			seal(20, content)
			break
		}
		out = append([]byte{20, 3, 3, 0, byte(len(content))}, content...)
	case 8: // any content type
		seal(s.byte(), s.bytes(int(s.byte())%16))
	case 9: // handshake bytes
		seal(typeHandshake, s.bytes(int(s.byte())%64))
	case 10: // a message that claims any length
		message := []byte{s.byte() % 32, s.byte() % 5, s.byte(), s.byte()}
		seal(typeHandshake, append(message, s.bytes(int(s.byte()))...))
	case 11: // damaged
		seal(typeData, s.bytes(int(s.byte())%64))
		out[int(s.byte())%len(out)] ^= s.byte()
	case 12: // a header that nobody may send
		out = append(s.bytes(5), make([]byte, 64)...)
	case 13: // cut short
		seal(typeData, s.bytes(int(s.byte())%64))
		s.rest = nil
		return out[:int(op)%len(out)], false
	case 14: // many useless records
		for range s.byte() % 20 {
			seal(typeData, nil)
		}
	case 15: // messages behind a KeyUpdate in its record
		seal(typeHandshake, append([]byte{24, 0, 0, 1, 0}, s.bytes(int(s.byte())%8)...))
		update()
	}
	return out, true
}

func (s *ownScript) ticket() []byte {
	body := binary.BigEndian.AppendUint32(nil, uint32(s.byte())<<12)
	body = append(body, 0, 0, 0, 0)
	nonce := s.bytes(int(s.byte()) % 4)
	body = append(append(body, byte(len(nonce))), nonce...)
	ticket := bytes.Repeat([]byte{7}, int(s.byte())*int(s.byte())%65536)
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(ticket))), ticket...)
	extensions := s.bytes(int(s.byte()) % 12)
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(extensions))), extensions...)
	return append([]byte{4, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// compareOwn plays a script to crypto/tls and to ours.
func compareOwn(t testing.TB, c ownCase, script []byte, buffer int) {
	t.Helper()
	want := stockVictim(t, c).play(t, script, buffer)
	got := ownVictim(t, c).play(t, script, buffer)
	mustEqual(t, "plaintext", got.plain, want.plain)
	if got.end != want.end || got.tickets != want.tickets {
		t.Fatalf("ended by %s with alerts %d and %d tickets, crypto/tls by %s with %d and %d",
			got.end, got.alerts, got.tickets, want.end, want.alerts, want.tickets)
	}
	if bytes.Equal(got.alerts, want.alerts) {
		return
	}
	// A message that has no place here is not looked into: it may be malformed, too.
	if string(want.alerts) == string([]byte{byte(tlsstream.AlertDecodeError)}) && string(got.alerts) == string([]byte{byte(tlsstream.AlertUnexpectedMessage)}) {
		return
	}
	t.Fatalf("sent alerts %d, crypto/tls %d", got.alerts, want.alerts)
}

// Whatever records a peer sends, it gets the same from us as from crypto/tls: the same
// plaintext is read, the same tickets are kept, and the same alert goes back, or none.
func FuzzOwnRecordsAgainstCryptoTLS(f *testing.F) {
	for _, seed := range ownSeeds() {
		for i := range ownCases {
			f.Add(byte(i), uint16(1<<14), seed)
			f.Add(byte(i), uint16(7), seed)
		}
	}
	f.Fuzz(func(t *testing.T, who byte, buffer uint16, script []byte) {
		if len(script) > 2000 {
			return
		}
		compareOwn(t, ownCases[int(who)%len(ownCases)], script, int(buffer)%20000+1)
	})
}
