package tlsstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

var testCA = tlstest.NewCA()

// A secureConn is what *tls.Conn and *tlsstream.Conn have in common.
type secureConn interface {
	net.Conn
	Handshake() error
	HandshakeContext(context.Context) error
	ConnectionState() tls.ConnectionState
	CloseWrite() error
	NetConn() net.Conn
}

// A stack makes TLS connections over transports. A scenario runs on ours, and on
// crypto/tls alone as the control.
type stack struct {
	name           string
	client, server func(net.Conn, *tls.Config) secureConn
}

var (
	stockStack = stack{
		name:   "stdlib",
		client: func(c net.Conn, config *tls.Config) secureConn { return tls.Client(c, config) },
		server: func(c net.Conn, config *tls.Config) secureConn { return tls.Server(c, config) },
	}
	streamStack = stack{
		name:   "tlsstream",
		client: func(c net.Conn, config *tls.Config) secureConn { return tlsstream.Client(c, config) },
		server: func(c net.Conn, config *tls.Config) secureConn { return tlsstream.Server(c, config) },
	}
	ownOptions = tlsstream.Options{OwnRecords: true}
	ownStack   = stack{
		name:   "tlsstream-own",
		client: func(c net.Conn, config *tls.Config) secureConn { return ownOptions.Client(c, config) },
		server: func(c net.Conn, config *tls.Config) secureConn { return ownOptions.Server(c, config) },
	}
	// The path of Dialer.DialContext and Listener.Accept.
	listenerStack = stack{
		name: "listener",
		client: func(c net.Conn, config *tls.Config) secureConn {
			deferred := ticketdefer.WrapConn(c)
			return tls.Client(deferred, ticketdefer.BindConfig(config, deferred))
		},
		server: func(c net.Conn, config *tls.Config) secureConn {
			accepted, err := tlsstream.NewListener(&oneListener{conn: c}, config).Accept()
			if err != nil {
				panic(err)
			}
			return accepted.(*tls.Conn)
		},
	}
)

// A oneListener accepts one connection.
type oneListener struct{ conn net.Conn }

func (l *oneListener) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	c := l.conn
	l.conn = nil
	return c, nil
}
func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }

// wide are the options of a pipe that takes n bytes in each direction before a
// Write blocks.
func wide(n int) membio.PipeOptions {
	side := membio.PipeSide{SendBuffer: n / 2, ReceiveBuffer: n - n/2}
	return membio.PipeOptions{A: side, B: side}
}

// handshakeBoth runs both handshakes at once. If one fails, it closes that side's
// transport, and so ends the other.
func handshakeBoth(client, server secureConn) error {
	run := func(c secureConn) error {
		err := c.Handshake()
		if err != nil {
			c.NetConn().Close()
		}
		return err
	}
	done := make(chan error, 1)
	go func() { done <- run(server) }()
	return errors.Join(run(client), <-done)
}

// ticketConfigs are configurations with which the server sends tickets: its
// clients have a session cache. Only a client with a cache asks for tickets.
func ticketConfigs() (client, server *tls.Config) {
	client = testCA.ClientConfig()
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	return client, testCA.ServerConfig()
}

// mutual makes the client show its certificate: then the server sends the ticket
// after the client's last flight, not with its own first.
func mutual(client, server *tls.Config) {
	client.Certificates = []tls.Certificate{testCA.Client("alice")}
	server.ClientAuth = tls.RequireAndVerifyClientCert
	server.ClientCAs = testCA.Pool()
}

// cheap makes handshakes small and fast, for tests that make thousands.
func cheap(configs ...*tls.Config) {
	for _, c := range configs {
		c.CurvePreferences = []tls.CurveID{tls.X25519}
	}
}

// A keyLog keeps the last traffic secrets that were logged.
type keyLog struct {
	mu      sync.Mutex
	secrets map[string][]byte // guarded by mu
}

func (k *keyLog) Write(line []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secrets == nil {
		k.secrets = make(map[string][]byte)
	}
	if f := strings.Fields(string(line)); len(f) == 3 {
		k.secrets[f[0]], _ = hex.DecodeString(f[2])
	}
	return len(line), nil
}

// epoch returns the first application epoch of a direction: CLIENT or SERVER.
func (k *keyLog) epoch(t testing.TB, direction string, state tls.ConnectionState) *ticketdefer.Epoch {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	e, err := ticketdefer.NewEpoch(state.CipherSuite, k.secrets[direction+"_TRAFFIC_SECRET_0"])
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Content types and messages, RFC 8446 sections 5.1, 4.6.3 and 6.
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

var keyUpdateRequest = []byte{24, 0, 0, 1, 1}

// sealKeyUpdate appends KeyUpdate(update_requested), and moves e to its next keys.
func sealKeyUpdate(t testing.TB, e *ticketdefer.Epoch, dst []byte) []byte {
	t.Helper()
	dst = e.Seal(dst, typeHandshake, keyUpdateRequest)
	if err := e.Update(); err != nil {
		t.Fatal(err)
	}
	return dst
}

// randomBytes returns n bytes that depend on seed only.
func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

// mustEqual compares long byte strings without printing them.
func mustEqual(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	t.Fatalf("%s: got %d bytes, want %d; they differ from byte %d on", what, len(got), len(want), at)
}

// longAgo is a deadline that has passed, in a testing/synctest bubble too.
var longAgo = time.Unix(1, 0)
