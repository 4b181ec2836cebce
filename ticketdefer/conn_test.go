package ticketdefer

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A layered is one way to run a server: with the layer below TLS, or as
// crypto/tls alone, which is the control that must show the opposite.
type layered struct {
	name   string
	defers bool
}

var layers = []layered{{"ticketdefer", true}, {"stock", false}}

// server returns a tls.Server over transport. Its Stats are the zero value on stock.
func (l layered) server(transport net.Conn, config *tls.Config) (*tls.Conn, func() Stats) {
	if !l.defers {
		return tls.Server(transport, config), func() Stats { return Stats{} }
	}
	c := WrapConn(transport)
	return tls.Server(c, WrapConfig(config)), c.Stats
}

// handshakes are the ways in which a server sends its ticket: in one Write with
// its first flight, or in a later Write within the handshake.
var handshakes = map[string]func(server, client *tls.Config){
	"ticket in the first flight": func(*tls.Config, *tls.Config) {},
	"client certificate": func(server, client *tls.Config) {
		server.ClientAuth = tls.RequireAndVerifyClientCert
		server.ClientCAs = testCA.Pool()
		client.Certificates = []tls.Certificate{testCA.Client("alice")}
	},
	"large ticket": func(server, client *tls.Config) {
		server.ClientAuth = tls.RequestClientCert
		client.Certificates = []tls.Certificate{testCA.BigClient("alice", 60<<10)}
	},
}

// eachHandshake runs f for every kind of handshake and both layers, with the
// handshake done, the client's key log, and the server's writes noted so far.
func eachHandshake(t *testing.T, f func(t *testing.T, e *established)) {
	t.Helper()
	for _, l := range layers {
		for name, prepare := range handshakes {
			t.Run(fmt.Sprintf("%s/%s", l.name, name), func(t *testing.T) {
				serverConfig, clientConfig := testCA.ServerConfig(), resumable()
				prepare(serverConfig, clientConfig)
				f(t, establish(t, l, serverConfig, clientConfig))
			})
		}
	}
}

// An established connection, whose server is under test.
type established struct {
	layered
	server, client *tls.Conn
	stats          func() Stats
	wire           *recorder // what the server writes
	out            *Epoch    // opens it
	opened         bool      // out has opened a record
}

func establish(t *testing.T, l layered, serverConfig, clientConfig *tls.Config) *established {
	t.Helper()
	a, b := tlstest.TCPPair(t)
	log := new(keyLog)
	clientConfig = clientConfig.Clone()
	clientConfig.KeyLogWriter = log
	e := &established{layered: l, wire: &recorder{Conn: a}, client: tls.Client(b, clientConfig)}
	e.server, e.stats = l.server(e.wire, serverConfig)
	shake(t, e.server, e.client)
	t.Cleanup(func() {
		e.client.Close()
		e.server.Close()
	})
	var err error
	e.out, err = NewEpoch(e.client.ConnectionState().CipherSuite, log.secret(t, labelServerTraffic))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// wrote returns the post-handshake records of the server's writes since the
// last call, one string of types for each write: 't' ticket, 'd' data, 'a' alert.
func (e *established) wrote(t *testing.T) (out []string) {
	t.Helper()
	for _, w := range e.wire.take() {
		types := ""
		for _, record := range records(t, w) {
			contentType, _, err := e.out.Open(nil, record)
			switch {
			case err != nil && e.opened:
				t.Fatal("a record of the server does not open")
			case err != nil:
				continue
			case contentType == recordHandshake:
				types += "t"
			case contentType == recordApplicationData:
				types += "d"
			case contentType == recordAlert:
				types += "a"
			}
			e.opened = true
		}
		if types != "" {
			out = append(out, types)
		}
	}
	return out
}

// compact joins repeated letters: a large ticket takes several records.
func compact(writes []string) (out []string) {
	for _, w := range writes {
		out = append(out, string(slices.Compact([]byte(w))))
	}
	return out
}

func TestTurnTicketLeavesInOneWriteWithTheFirstResponse(t *testing.T) {
	eachHandshake(t, func(t *testing.T, e *established) {
		exchange(t, e.client, e.server, "request")
		before := e.wrote(t)
		if !e.defers {
			mustEqual(t, "stock's writes before the response", []string{"t"}, compact([]string{strings.Join(before, "")}))
			return
		}
		mustEqual(t, "writes before the response", []string(nil), before)
		stats := e.stats()
		if stats.HeldRecords == 0 {
			t.Fatal("no ticket is held")
		}
		mustEqual(t, "stats", Stats{
			Deferral: DeferralOn, HeldRecords: stats.HeldRecords, HeldBytes: stats.HeldBytes,
		}, stats)
		exchange(t, e.server, e.client, "response")
		exchange(t, e.server, e.client, "and more")
		mustEqual(t, "writes", []string{"td", "d"}, compact(e.wrote(t)))
		mustEqual(t, "held", 0, e.stats().HeldBytes)
	})
}

func TestTurnUploadMakesTheServerWriteNothing(t *testing.T) {
	eachHandshake(t, func(t *testing.T, e *established) {
		upload := string(randomBytes(1, 1<<20))
		exchange(t, e.client, e.server, upload)
		wrote := compact(e.wrote(t))
		if e.defers != (len(wrote) == 0) {
			t.Errorf("the server wrote %q", wrote)
		}
	})
}

func TestCloseTakesTheHeldAlongInOneWrite(t *testing.T) {
	for name, end := range map[string]func(*tls.Conn) error{"Close": (*tls.Conn).Close, "CloseWrite": (*tls.Conn).CloseWrite} {
		t.Run(name, func(t *testing.T) {
			eachHandshake(t, func(t *testing.T, e *established) {
				exchange(t, e.client, e.server, "upload")
				if err := end(e.server); err != nil {
					t.Fatal(err)
				}
				if wrote := compact(e.wrote(t)); e.defers != slices.Equal(wrote, []string{"ta"}) {
					t.Errorf("the server wrote %q", wrote)
				}
				if n, err := e.client.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the client read %d, %v, want close_notify", n, err)
				}
			})
		})
	}
}

func TestFlushTicketsSendsWhatIsHeld(t *testing.T) {
	serverConfig, clientConfig := testCA.ServerConfig(), resumable()
	e := establish(t, layers[0], serverConfig, clientConfig)
	c := e.server.NetConn().(*Conn)
	for i, want := range [][]string{{"t"}, nil} {
		if err := c.FlushTickets(); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, fmt.Sprintf("writes of flush %d", i), want, e.wrote(t))
	}
	exchange(t, e.server, e.client, "data")
	mustEqual(t, "writes", []string{"d"}, e.wrote(t))
}

// TestHeldTicketsResume sees that a ticket is as good late as early.
func TestHeldTicketsResume(t *testing.T) {
	for name, prepare := range handshakes {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s/%s", name, tls.VersionName(version)), func(t *testing.T) {
				serverConfig, clientConfig := testCA.ServerConfig(), resumable()
				prepare(serverConfig, clientConfig)
				clientConfig.MaxVersion = version
				serverConfig = WrapConfig(serverConfig)
				for i := range 3 {
					a, b := tlstest.TCPPair(t)
					conn := WrapConn(a)
					server, client := tls.Server(conn, serverConfig), tls.Client(b, clientConfig)
					shake(t, server, client)
					mustEqual(t, "resumed", i > 0, client.ConnectionState().DidResume)
					want := DeferralOn
					if version == tls.VersionTLS12 { // crypto/tls logs nothing when it resumes it
						want = DeferralTLS12
					}
					mustEqual(t, "deferral", want.String(), conn.Stats().Deferral.String())
					exchange(t, client, server, "request")
					exchange(t, server, client, "response")
					client.Close()
					server.Close()
				}
			})
		}
	}
}

// TLS 1.2 has nothing to hold: every Write goes through as it is.
func TestTLS12PassesUntouched(t *testing.T) {
	serverConfig, clientConfig := testCA.ServerConfig(), resumable()
	serverConfig.MaxVersion = tls.VersionTLS12
	a, b := tlstest.TCPPair(t)
	above := &recorder{} // between crypto/tls and the layer
	below := &recorder{Conn: a}
	conn := WrapConn(below)
	above.Conn = conn
	server, client := tls.Server(above, WrapConfig(serverConfig)), tls.Client(b, clientConfig)
	shake(t, server, client)
	exchange(t, server, client, "response")
	exchange(t, client, server, "request")
	server.Close()
	mustEqual(t, "bytes", slices.Concat(above.take()...), slices.Concat(below.take()...))
	mustEqual(t, "deferral", DeferralTLS12.String(), conn.Stats().Deferral.String())
}

// A Config that was not wrapped gives no secret: all passes, and Stats say so,
// once there were more records than a handshake has.
func TestUnwrappedConfigPassesAndSaysSo(t *testing.T) {
	a, b := tlstest.TCPPair(t)
	below := &recorder{Conn: a}
	conn := WrapConn(below)
	log := new(keyLog)
	clientConfig := resumable()
	clientConfig.KeyLogWriter = log
	server, client := tls.Server(conn, testCA.ServerConfig()), tls.Client(b, clientConfig)
	shake(t, server, client)
	for range maxTrials {
		exchange(t, server, client, "data")
	}
	mustEqual(t, "stats", Stats{Deferral: DeferralNoSecret}, conn.Stats())
	mustEqual(t, "registered", 0, registered())
	e := &established{wire: below}
	var err error
	if e.out, err = NewEpoch(client.ConnectionState().CipherSuite, log.secret(t, labelServerTraffic)); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "the first write with application keys", "t", e.wrote(t)[0])
}

func TestWrappedConfigOverAnotherConnIsStock(t *testing.T) {
	a, b := tlstest.TCPPair(t)
	serverConfig, clientConfig := WrapConfig(testCA.ServerConfig()), WrapConfig(resumable())
	server, client := tls.Server(a, serverConfig), tls.Client(b, clientConfig)
	shake(t, server, client)
	exchange(t, server, client, "response")
	exchange(t, client, server, "request")
	mustEqual(t, "registered", 0, registered())
}

// WrapListener and WrapConfig are all that a library needs that makes its own
// tls.Listener.
func TestWrapListenerServesALibrary(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrapped := WrapListener(inner)
	if again := WrapListener(wrapped); again != wrapped {
		t.Error("a listener was wrapped twice")
	}
	l := tls.NewListener(wrapped, WrapConfig(testCA.ServerConfig()))
	defer l.Close()
	conns := make(chan net.Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		conns <- conn
	}()
	clientConfig := resumable()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := (<-conns).(*tls.Conn)
	defer server.Close()
	tlsClient := tls.Client(client, clientConfig)
	shake(t, server, tlsClient)
	exchange(t, tlsClient, server, "request")
	conn := find(server)
	if conn == nil {
		t.Fatal("no Conn below what Accept returned")
	}
	if again := WrapConn(conn); again != conn {
		t.Error("a Conn was wrapped twice")
	}
	stats := conn.Stats()
	if stats.Deferral != DeferralOn || stats.HeldRecords != 1 {
		t.Errorf("stats %+v", stats)
	}
	l.Close()
	if _, err := wrapped.Accept(); err == nil {
		t.Error("Accept of a closed listener returned a Conn")
	}
}
