package tlsstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// What an HTTP exchange showed.
type exchanged struct {
	Proto                   string
	ClientTLS, ServerTLS    bool // Response.TLS and Request.TLS are set and complete
	DidResume               bool
	ClientDefers, ServerHas ticketdefer.Deferral
}

type connKey struct{}

// serveEcho runs a net/http server that sends bodies back, and tells of the
// connection in headers.
func serveEcho(t *testing.T, l net.Listener, use func(*http.Server)) (addr string) {
	t.Helper()
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if r.TLS != nil && r.TLS.HandshakeComplete {
				w.Header().Set("X-TLS", "complete")
			}
			s, _ := tlsstream.StatsOf(r.Context().Value(connKey{}).(net.Conn))
			w.Header().Set("X-Deferral", s.Deferral.String())
			w.Write(body)
		}),
	}
	if use != nil {
		use(server)
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// post sends a large body over a connection of its own.
func post(t *testing.T, transport *http.Transport, addr string) exchanged {
	t.Helper()
	defer transport.CloseIdleConnections()
	var conn net.Conn
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn }}
	body := randomBytes(1, 300_000)
	ctx := httptrace.WithClientTrace(t.Context(), trace)
	request, err := http.NewRequestWithContext(ctx, "POST", "https://"+addr, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "body", got, body)
	x := exchanged{Proto: response.Proto, ServerTLS: response.Header.Get("X-TLS") == "complete"}
	if response.TLS != nil {
		x.ClientTLS, x.DidResume = response.TLS.HandshakeComplete, response.TLS.DidResume
	}
	if s, ok := tlsstream.StatsOf(conn); ok {
		x.ClientDefers = s.Deferral
	}
	if response.Header.Get("X-Deferral") == ticketdefer.DeferralOn.String() {
		x.ServerHas = ticketdefer.DeferralOn
	}
	return x
}

// net/http's server and client over Listener and Dialer, HTTP/1.1 and HTTP/2: all
// that works with crypto/tls works, resumption too.
func TestNetHTTP(t *testing.T) {
	t.Parallel()
	const on = ticketdefer.DeferralOn
	for _, c := range []struct{ proto, alpn string }{{"HTTP/1.1", "http/1.1"}, {"HTTP/2.0", "h2"}} {
		t.Run(c.proto, func(t *testing.T) {
			t.Parallel()
			clientConfig, serverConfig := ticketConfigs()
			serverConfig.NextProtos = []string{"h2", "http/1.1"}
			clientConfig.NextProtos = []string{c.alpn}
			l, err := tlsstream.Listen("tcp", "127.0.0.1:0", serverConfig)
			if err != nil {
				t.Fatal(err)
			}
			addr := serveEcho(t, l, nil)
			dialer := &tlsstream.Dialer{Config: clientConfig}
			transport := &http.Transport{DialTLSContext: dialer.DialContext, ForceAttemptHTTP2: true}
			for _, resumed := range []bool{false, true, true} {
				want := exchanged{c.proto, true, true, resumed, on, on}
				if diff := cmp.Diff(want, post(t, transport, addr)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
}

// With Protocols in place of ForceAttemptHTTP2.
func TestNetHTTPProtocols(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	serverConfig.NextProtos = []string{"h2"}
	clientConfig.NextProtos = []string{"h2"}
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", serverConfig)
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	addr := serveEcho(t, l, func(s *http.Server) { s.Protocols = protocols })
	dialer := &tlsstream.Dialer{Config: clientConfig}
	transport := &http.Transport{DialTLSContext: dialer.DialContext, Protocols: protocols}
	if got := post(t, transport, addr); got.Proto != "HTTP/2.0" || got.ClientDefers != ticketdefer.DeferralOn {
		t.Errorf("%+v", got)
	}
}

// A streamListener gives net/http Conns in place of *tls.Conns. net/http takes
// Request.TLS before it reads, so the handshake is made here, as a listener that
// does this in earnest would, on a goroutine of each connection's.
type streamListener struct{ *tlsstream.Listener }

func (l streamListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptStream()
		if err != nil {
			return nil, err
		}
		if c.Handshake() == nil {
			return c, nil
		}
		c.Close()
	}
}

// net/http over the streams of AcceptStream and DialStream: HTTP/1.1, since
// HTTP/2 wants a *tls.Conn.
func TestNetHTTPOverStreams(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", serverConfig)
	if err != nil {
		t.Fatal(err)
	}
	addr := serveEcho(t, streamListener{l}, nil)
	dialer := &tlsstream.Dialer{Config: clientConfig}
	var resumed []bool
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialStream(ctx, network, addr)
		if err == nil {
			resumed = append(resumed, c.ConnectionState().DidResume)
		}
		return c, err
	}}
	const on = ticketdefer.DeferralOn
	for range 2 {
		// The transport sets Response.TLS for a *tls.Conn only.
		want := exchanged{"HTTP/1.1", false, true, false, on, on}
		if diff := cmp.Diff(want, post(t, transport, addr)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	if !slices.Equal(resumed, []bool{false, true}) {
		t.Errorf("DidResume: %v", resumed)
	}
}

// The handshake of a *tls.Conn from Accept is the server's to make: Accept does
// not wait for it.
func TestAcceptDoesNotWaitForTheHandshake(t *testing.T) {
	t.Parallel()
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", testCA.ServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.(*tls.Conn).ConnectionState().HandshakeComplete {
		t.Error("the handshake is complete")
	}
}
