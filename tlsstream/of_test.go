package tlsstream_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// dialed are the two ends of a connection through a Listener and a Dialer.
type dialed struct{ client, server net.Conn }

// dial makes one connection of each kind: *tls.Conn and *Conn.
func dial(t *testing.T, stream bool, clientConfig, serverConfig *tls.Config) dialed {
	t.Helper()
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", serverConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	accepted := make(chan result, 1)
	go func() {
		var r result
		if stream {
			r.conn, r.err = l.AcceptStream()
		} else {
			r.conn, r.err = l.Accept()
		}
		if r.err == nil {
			r.err = r.conn.(secureConn).Handshake()
		}
		accepted <- r
	}()
	d := tlsstream.Dialer{Config: clientConfig}
	var client net.Conn
	if stream {
		client, err = d.DialStream(context.Background(), "tcp", l.Addr().String())
	} else {
		client, err = d.DialContext(context.Background(), "tcp", l.Addr().String())
	}
	if err != nil {
		t.Fatal(err)
	}
	server := <-accepted
	if server.err != nil {
		t.Fatal(server.err)
	}
	t.Cleanup(func() {
		client.Close()
		server.conn.Close()
	})
	return dialed{client, server.conn}
}

// An embedder is how applications wrap connections.
type embedder struct{ *tls.Conn }

// StatsOf and FlushTickets find the layer in whatever runs over it, and say so
// where there is none.
func TestStatsOfAndFlushTicketsFindTheLayer(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{true, false} {
		clientConfig, serverConfig := ticketConfigs()
		cs := dial(t, stream, clientConfig, serverConfig)
		cs.client.Write([]byte{1}) // a side's epoch begins with its first record
		if _, err := cs.server.Read([]byte{0}); err != nil {
			t.Fatal(err)
		}
		server := cs.server
		if c, ok := server.(*tls.Conn); ok {
			server = embedder{c}
		}
		for _, c := range []struct {
			name string
			conn net.Conn
			held int
		}{{"client", cs.client, 0}, {"server", server, 1}} {
			s, ok := tlsstream.StatsOf(c.conn)
			if !ok || s.Deferral != ticketdefer.DeferralOn || s.HeldRecords != c.held {
				t.Errorf("stream=%t %s: %t, %+v", stream, c.name, ok, s)
			}
		}
		for range 2 {
			if err := tlsstream.FlushTickets(server); err != nil {
				t.Error(err)
			}
		}
		if s, _ := tlsstream.StatsOf(server); s.HeldRecords != 0 {
			t.Errorf("stream=%t: after FlushTickets: %+v", stream, s)
		}
		if _, isTLS := cs.server.(*tls.Conn); isTLS == stream {
			t.Errorf("stream=%t: the server's connection is a %T", stream, cs.server)
		}
		if _, isTLS := cs.client.(*tls.Conn); isTLS == stream {
			t.Errorf("stream=%t: the client's connection is a %T", stream, cs.client)
		}
	}

	a, b := membio.Pipe(wide(1 << 16))
	defer a.Close()
	defer b.Close()
	for name, c := range map[string]net.Conn{"a transport": a, "crypto/tls": tls.Client(b, &tls.Config{}), "nil": nil} {
		if s, ok := tlsstream.StatsOf(c); ok {
			t.Errorf("%s: StatsOf: %+v", name, s)
		}
		if err := tlsstream.FlushTickets(c); err == nil {
			t.Errorf("%s: FlushTickets succeeded", name)
		}
	}
}

// FlushTickets lets a client resume that the server has never written to.
func TestFlushedTicketsResume(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{true, false} {
		clientConfig, serverConfig := ticketConfigs()
		var resumed []bool
		for range 2 {
			cs := dial(t, stream, clientConfig, serverConfig)
			resumed = append(resumed, cs.server.(secureConn).ConnectionState().DidResume)
			if err := tlsstream.FlushTickets(cs.server); err != nil {
				t.Fatal(err)
			}
			cs.server.(secureConn).CloseWrite()
			cs.client.Read([]byte{0})
		}
		if diff := cmp.Diff([]bool{false, true}, resumed); diff != "" {
			t.Errorf("stream=%t: DidResume, -want +got:\n%s", stream, diff)
		}
	}
}

// Options that make no sense are an error, not a guess.
func TestInvalidOptions(t *testing.T) {
	t.Parallel()
	o := tlsstream.Options{CloseTimeout: -1}
	config := testCA.ServerConfig()
	if _, err := o.Listen("tcp", "127.0.0.1:0", config); err == nil {
		t.Error("Listen succeeded")
	}
	d := tlsstream.Dialer{Options: o}
	if _, err := d.DialStream(context.Background(), "tcp", "127.0.0.1:1"); err == nil {
		t.Error("DialStream succeeded")
	}
	a, b := membio.Pipe(wide(1))
	defer a.Close()
	defer b.Close()
	for name, f := range map[string]func(){
		"Server":       func() { o.Server(a, config) },
		"Client":       func() { o.Client(a, config) },
		"NewListener":  func() { o.NewListener(&oneListener{}, config) },
		"ServerEngine": func() { o.ServerEngine(config) },
		"ClientEngine": func() { o.ClientEngine(config) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
	if _, err := tlsstream.Listen("tcp", "127.0.0.1:0", &tls.Config{}); err == nil {
		t.Error("Listen without a certificate succeeded")
	}
}

// A server name is taken from the address, as tls.Dial does.
func TestDialerTakesTheServerName(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	clientConfig.ServerName = "" // the certificate is for 127.0.0.1
	dial(t, true, clientConfig, serverConfig)
	dial(t, false, clientConfig, serverConfig)
	if clientConfig.ServerName != "" {
		t.Error("the Dialer has changed the user's Config")
	}
}

// A stream may run over another: CloseWrite ends both, and the outermost layer is
// the one that is asked.
func TestTLSInTLS(t *testing.T) {
	t.Parallel()
	a, b := membio.Pipe(wide(1 << 16))
	config := testCA.ServerConfig()
	outer := tlsstream.Client(tlsstream.Client(a, testCA.ClientConfig()), testCA.ClientConfig())
	other := tlsstream.Server(tlsstream.Server(b, config), config)
	defer outer.Close()
	defer other.Close()
	if err := handshakeBoth(outer, other); err != nil {
		t.Fatal(err)
	}
	echo(t, outer, other)
	if err := outer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Read([]byte{0}); err != io.EOF {
		t.Errorf("the peer reads %v", err)
	}
	if _, err := other.NetConn().Read([]byte{0}); err != io.EOF {
		t.Errorf("the peer's inner stream reads %v", err)
	}
	if err := tlsstream.FlushTickets(other); err != nil {
		t.Error(err)
	}
}

// A nil Config fails in the handshake, as with crypto/tls.
func TestNilConfig(t *testing.T) {
	t.Parallel()
	client, server := tlsstream.NewClientEngine(nil), tlsstream.NewServerEngine(nil)
	defer client.Close()
	defer server.Close()
	if err := client.Handshake(); err == nil || err == tlsstream.ErrWantRead {
		t.Errorf("the client: %v", err)
	}
	hello := tlsstream.NewClientEngine(testCA.ClientConfig())
	defer hello.Close()
	hello.Handshake()
	server.Feed(takeAll(hello))
	if err := server.Handshake(); err == nil || err == tlsstream.ErrWantRead {
		t.Errorf("the server: %v", err)
	}
}
