package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// Options.OwnRecords rests on what crypto/tls does, and not only on what it documents. Each
// subtest is one of these things, tried on crypto/tls alone: after a change of the Go release the
// one that fails says what own.go has to be adapted to.
func TestCryptoTLSBehavioursOwnRecordsReliesOn(t *testing.T) {
	t.Parallel()
	for name, pin := range map[string]func(t *testing.T){
		"it needs no byte past a record, and keeps none at the end of the handshake": pinNoOverRead,
		"it refuses what is left of a record when the keys change":                   pinNothingLeftAtKeyChange,
		"it logs both traffic secrets before the handshake ends":                     pinSecrets,
		"a server seals nothing but its ticket before the handshake ends":            pinTicket,
		"a client seals nothing before the handshake ends":                           pinClientSealsNothing,
		"a ticket with a byte of data behind it: Read returns the byte":              pinTicketRead,
		"what it would have sent is its Write's error":                               pinAlertOfWrite,
		"a temporary error is not final, and half a record stays":                    pinTemporary,
		"an answer to KeyUpdate is a record of 27 bytes":                             pinKeyUpdate,
		"a 17th record that brings nothing is refused":                               pinUseless,
		"a message has 64 KiB at most, a Certificate 256 KiB":                        pinMessages,
		"a ConnectionState exports keys without its Conn":                            pinState,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pin(t)
		})
	}
}

// A recordReader hands over the header of a record, then its body, and nothing else; what is
// behind the handshake stays in the pipe.
type recordReader struct {
	net.Conn
	header [5]byte
	have   int
	body   int
}

func (r *recordReader) Read(p []byte) (int, error) {
	if r.body > 0 {
		n, err := r.Conn.Read(p[:min(len(p), r.body)])
		r.body -= n
		return n, err
	}
	n, err := r.Conn.Read(p[:min(len(p), 5-r.have)])
	copy(r.header[r.have:], p[:n])
	if r.have += n; r.have == 5 {
		r.have, r.body = 0, int(r.header[3])<<8|int(r.header[4])
	}
	return n, err
}

func pinNoOverRead(t *testing.T) {
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	serverConfig.SessionTicketsDisabled = true
	a, b := membio.Pipe(wide(1 << 20))
	client, server := tls.Client(a, clientConfig), tls.Server(&recordReader{Conn: b}, serverConfig)
	var calls sync.WaitGroup
	calls.Go(func() { // 70 KB right behind Finished
		if _, err := client.Write(make([]byte, 70_000)); err != nil {
			t.Error(err)
		}
	})
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	if n := b.Unread(); n < 70_000 {
		t.Errorf("%d bytes are left behind the handshake, of more than 70,000", n)
	}
}

func pinNothingLeftAtKeyChange(t *testing.T) {
	var log keyLog
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	clientConfig.KeyLogWriter = &log
	client, server := tlsstream.NewClientEngine(clientConfig), tlsstream.NewServerEngine(serverConfig)
	defer server.Close()
	defer client.Close()
	client.Handshake()
	carry(t, client, server, everything, nil)
	server.Handshake()
	carry(t, server, client, everything, nil)
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	log.mu.Lock()
	secret := log.secrets["CLIENT_HANDSHAKE_TRAFFIC_SECRET"]
	log.mu.Unlock()
	open, err := ticketdefer.NewEpoch(client.ConnectionState().CipherSuite, secret)
	if err != nil {
		t.Fatal(err)
	}
	seal := open.Clone()
	var flight []byte
	for rest := takeAll(client); len(rest) > 0; {
		n := 5 + int(rest[3])<<8 + int(rest[4])
		if kind, finished, err := open.Open(nil, rest[:n]); err == nil {
			flight = seal.Seal(flight, kind, append(finished, 24, 0, 0, 1, 0))
		} else {
			flight = append(flight, rest[:n]...)
		}
		rest = rest[n:]
	}
	server.Feed(flight)
	var handshake *tlsstream.HandshakeError
	if err := server.Handshake(); !errors.As(err, &handshake) || !strings.Contains(err.Error(), "buffer not empty") {
		t.Errorf("a message behind Finished in its record: %v", err)
	}
}

// pinPair is a connection of crypto/tls over taps, with what both sides logged.
func pinPair(t *testing.T, clientConfig, serverConfig *tls.Config) (client, server *tls.Conn, clientWire, serverWire *wiretap, log *keyLog) {
	log = &keyLog{}
	clientConfig.KeyLogWriter = log
	a, b := membio.Pipe(wide(1 << 20))
	clientWire, serverWire = &wiretap{Conn: a}, &wiretap{Conn: b}
	client, server = tls.Client(clientWire, clientConfig), tls.Server(serverWire, serverConfig)
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	return client, server, clientWire, serverWire, log
}

func pinSecrets(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		var log keyLog
		clientConfig, serverConfig := ticketConfigs()
		if side == "client" {
			clientConfig.KeyLogWriter = &log
		} else {
			serverConfig.KeyLogWriter = &log
		}
		a, b := membio.Pipe(wide(1 << 20))
		client, server := tls.Client(a, clientConfig), tls.Server(b, serverConfig)
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		for _, direction := range []string{"CLIENT", "SERVER"} {
			log.epoch(t, direction, client.ConnectionState())
		}
	}
}

func pinTicket(t *testing.T) {
	for name, change := range map[string]func(client, server *tls.Config){
		"with its first flight":           func(client, server *tls.Config) {},
		"behind the client's certificate": mutual,
	} {
		clientConfig, serverConfig := ticketConfigs()
		change(clientConfig, serverConfig)
		_, server, _, wire, log := pinPair(t, clientConfig, serverConfig)
		sent := wire.sent(t, log.epoch(t, "SERVER", server.ConnectionState()))
		if len(sent) != 1 || sent[0].Type != typeHandshake || sent[0].Content[0] != 4 {
			t.Errorf("%s: the server sent %d records in the application epoch: %v", name, len(sent), sent)
		}
	}
}

func pinClientSealsNothing(t *testing.T) {
	clientConfig, serverConfig := ticketConfigs()
	mutual(clientConfig, serverConfig)
	client, _, wire, _, log := pinPair(t, clientConfig, serverConfig)
	if sent := wire.sent(t, log.epoch(t, "CLIENT", client.ConnectionState())); len(sent) != 0 {
		t.Errorf("the client sent %v", sent)
	}
}

// pinVictim is crypto/tls's client with a session cache.
func pinVictim(t *testing.T) (v *victim, read func() (int, error)) {
	v = stockVictim(t, ownCase{client: true, cache: true})
	t.Cleanup(v.close)
	b := make([]byte, 10)
	return v, func() (int, error) { return v.read(b) }
}

var pinnedTicket = []byte{4, 0, 0, 16, 0, 0, 1, 0, 0, 0, 0, 0, 1, 9, 0, 3, 1, 2, 3, 0, 0}

func init() { pinnedTicket[3] = byte(len(pinnedTicket) - 4) }

func pinTicketRead(t *testing.T) {
	v, read := pinVictim(t)
	for i := range 40 { // its count of useless messages begins anew each time
		v.feed(v.peer.Seal(v.peer.Seal(nil, typeHandshake, pinnedTicket), typeData, []byte{0}))
		if n, err := read(); n != 1 || err != nil {
			t.Fatalf("ticket %d: %d, %v", i, n, err)
		}
	}
	if v.cache.puts != 40 {
		t.Errorf("%d of 40 tickets reached the cache", v.cache.puts)
	}
}

func pinAlertOfWrite(t *testing.T) {
	v := stockVictim(t, ownCase{client: true, cache: true})
	defer v.close()
	bad := bytes.Clone(pinnedTicket)
	bad[4] = 0xff // a lifetime of years
	v.feed(v.peer.Seal(nil, typeHandshake, bad))
	if _, err := v.read(make([]byte, 1)); err == nil || err == tlsstream.ErrWantRead {
		t.Fatalf("Read: %v", err)
	}
	_, err := v.conn.Write(nil)
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "local error" {
		t.Errorf("Write(nil): %v", err)
	}
}

func pinTemporary(t *testing.T) {
	v, read := pinVictim(t)
	for _, b := range v.peer.Seal(nil, typeData, []byte("x")) {
		if n, err := read(); n != 0 || err != tlsstream.ErrWantRead {
			t.Fatalf("%d, %v", n, err)
		}
		v.feed([]byte{b})
	}
	if n, err := read(); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func pinKeyUpdate(t *testing.T) {
	v, read := pinVictim(t)
	before := len(v.sent())
	v.feed(sealKeyUpdate(t, v.peer, nil))
	if _, err := read(); err != tlsstream.ErrWantRead {
		t.Fatal(err)
	}
	if n := len(v.sent()) - before; n != 27 {
		t.Errorf("the answer is %d bytes on the wire, want 27", n)
	}
}

func pinUseless(t *testing.T) {
	v, read := pinVictim(t)
	for range 16 {
		v.feed(v.peer.Seal(nil, typeData, nil))
		if _, err := read(); err != tlsstream.ErrWantRead {
			t.Fatal(err)
		}
	}
	v.feed(v.peer.Seal(nil, typeData, nil))
	if _, err := read(); err == nil || err == tlsstream.ErrWantRead || err == io.EOF {
		t.Errorf("the 17th: %v", err)
	}
}

func pinMessages(t *testing.T) {
	for _, c := range []struct {
		header  []byte
		refused bool
	}{
		{[]byte{4, 1, 0, 0}, false},
		{[]byte{4, 1, 0, 1}, true},
		{[]byte{11, 4, 0, 0}, false},
		{[]byte{11, 4, 0, 1}, true},
	} {
		v, read := pinVictim(t)
		v.feed(v.peer.Seal(nil, typeHandshake, c.header))
		if _, err := read(); (err != tlsstream.ErrWantRead) != c.refused {
			t.Errorf("%v: %v", c.header, err)
		}
	}
}

func pinState(t *testing.T) {
	client, server, _, _, _ := pinPair(t, testCA.ClientConfig(), testCA.ServerConfig())
	x, y := client.ConnectionState(), server.ConnectionState()
	client.Close()
	server.Close()
	k, err := x.ExportKeyingMaterial("EXPERIMENTAL pin", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	l, err := y.ExportKeyingMaterial("EXPERIMENTAL pin", nil, 32)
	if err != nil || !bytes.Equal(k, l) {
		t.Errorf("%x, %x, %v", k, l, err)
	}
}
