package ticketdefer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// wrappers are the ways to prepare a user's Config for one connection.
var wrappers = map[string]func(*tls.Config, *Conn) *tls.Config{
	"WrapConfig": func(c *tls.Config, _ *Conn) *tls.Config { return WrapConfig(c) },
	"BindConfig": func(c *tls.Config, conn *Conn) *tls.Config { return BindConfig(c, conn) },
}

// serve connects one client to a server over a Conn, lets both speak, and
// returns what each saw.
func serve(t *testing.T, wrap func(*tls.Config, *Conn) *tls.Config, serverConfig, clientConfig *tls.Config) (conn *Conn, server, client tls.ConnectionState) {
	t.Helper()
	a, b := tlstest.TCPPair(t)
	conn = WrapConn(a)
	s, c := tls.Server(conn, wrap(serverConfig, conn)), tls.Client(b, clientConfig)
	shake(t, s, c)
	exchange(t, c, s, "request")
	if stats := conn.Stats(); stats.Deferral == DeferralOn && stats.HeldRecords == 0 {
		t.Error("the client was sent its ticket before the response")
	}
	exchange(t, s, c, "response")
	server, client = s.ConnectionState(), c.ConnectionState()
	c.Close()
	s.Close()
	return conn, server, client
}

func TestUsersSessionHooksAreCalled(t *testing.T) {
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			var wrapped, unwrapped int
			tickets := make(map[string][]byte)
			serverConfig, clientConfig := testCA.ServerConfig(), resumable()
			serverConfig.WrapSession = func(_ tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
				wrapped++
				session.Extra = append(session.Extra, []byte("mine"))
				state, err := session.Bytes()
				id := fmt.Sprintf("ticket %d", wrapped)
				tickets[id] = state
				return []byte(id), err
			}
			serverConfig.UnwrapSession = func(id []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
				unwrapped++
				session, err := tls.ParseSessionState(tickets[string(id)])
				if err == nil && cmp.Diff([][]byte{[]byte("mine")}, session.Extra) != "" {
					err = errors.New("the session is not the one that was wrapped")
				}
				return session, err
			}
			for i := range 3 {
				_, _, client := serve(t, wrap, serverConfig, clientConfig)
				mustEqual(t, "resumed", i > 0, client.DidResume)
			}
			mustEqual(t, "calls", [2]int{3, 2}, [2]int{wrapped, unwrapped})
		})
	}
}

// GetConfigForClient is called, what it returns is used, and not changed.
func TestGetConfigForClientIsTheUsers(t *testing.T) {
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			log := new(keyLog)
			chosen := testCA.ServerConfig()
			chosen.NextProtos = []string{"chosen"}
			chosen.KeyLogWriter = log
			answers := map[string]struct {
				config *tls.Config
				err    error
				proto  string
			}{
				"nil":    {nil, nil, "base"},
				"chosen": {chosen, nil, "chosen"},
				"error":  {nil, errDisk, ""},
			}
			for name, answer := range answers {
				t.Run(name, func(t *testing.T) {
					serverConfig, clientConfig := testCA.ServerConfig(), resumable()
					serverConfig.NextProtos = []string{"base"}
					clientConfig.NextProtos = []string{"base", "chosen"}
					serverConfig.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
						if find(hello.Conn) == nil {
							t.Error("the hook was not given the connection")
						}
						return answer.config, answer.err
					}
					if answer.err != nil {
						a, b := tlstest.TCPPair(t)
						conn := WrapConn(a)
						err := tryShake(tls.Server(conn, wrap(serverConfig, conn)), tls.Client(b, clientConfig))
						if !errors.Is(err, answer.err) {
							t.Errorf("handshake: %v", err)
						}
						return
					}
					conn, _, client := serve(t, wrap, serverConfig, clientConfig)
					mustEqual(t, "protocol", answer.proto, client.NegotiatedProtocol)
					mustEqual(t, "deferral", DeferralOn.String(), conn.Stats().Deferral.String())
				})
			}
			if chosen.KeyLogWriter != log || !strings.Contains(log.String(), labelServerTraffic) {
				t.Error("the chosen Config's KeyLogWriter was replaced, or got no line")
			}
			if chosen.WrapSession != nil || chosen.UnwrapSession != nil {
				t.Error("the chosen Config was changed")
			}
		})
	}
}

// A hook may return the wrapped Config itself: its lines are not routed twice.
func TestGetConfigForClientMayReturnAWrappedConfig(t *testing.T) {
	inner := WrapConfig(testCA.ServerConfig())
	outer := testCA.ServerConfig()
	var returned *tls.Config
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }
	wrapped := WrapConfig(outer)
	returned, err := wrapped.GetConfigForClient(&tls.ClientHelloInfo{})
	if err != nil || returned != inner {
		t.Errorf("the hook returned another Config, %v", err)
	}
	conn, _, _ := serve(t, func(*tls.Config, *Conn) *tls.Config { return wrapped }, nil, resumable())
	mustEqual(t, "deferral", DeferralOn.String(), conn.Stats().Deferral.String())
}

func TestNilConfigIsAnEmptyOne(t *testing.T) {
	if c := WrapConfig(nil); c.KeyLogWriter == nil {
		t.Error("WrapConfig(nil) sets no KeyLogWriter")
	}
	if c := BindConfig(nil, WrapConn(nil)); c.KeyLogWriter == nil {
		t.Error("BindConfig(nil) sets no KeyLogWriter")
	}
}

// ALPN, SNI and client certificates are as in stock, and deferred.
func TestFeaturesWorkDeferred(t *testing.T) {
	other := tlstest.NewCA()
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			serverConfig, clientConfig := testCA.ServerConfig(), resumable()
			serverConfig.Certificates = nil
			serverConfig.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				cert := testCA.Server(hello.ServerName)
				return &cert, nil
			}
			serverConfig.NextProtos = []string{"b", "a"}
			serverConfig.ClientAuth, serverConfig.ClientCAs = tls.RequireAndVerifyClientCert, other.Pool()
			clientConfig.ServerName = "some.example"
			clientConfig.NextProtos = []string{"a", "b"}
			clientConfig.Certificates = []tls.Certificate{other.Client("alice")}
			conn, server, client := serve(t, wrap, serverConfig, clientConfig)
			mustEqual(t, "server", []string{"some.example", "b", "alice"},
				[]string{server.ServerName, server.NegotiatedProtocol, server.PeerCertificates[0].Subject.CommonName})
			mustEqual(t, "client", []string{"b", "some.example"}, []string{client.NegotiatedProtocol, client.PeerCertificates[0].DNSNames[0]})
			mustEqual(t, "deferral", DeferralOn.String(), conn.Stats().Deferral.String())
		})
	}
}

// After a HelloRetryRequest both sides write change_cipher_spec at once, and
// with no buffer between them both would wait for ever.
func TestHelloRetryRequestOverALockstepPipe(t *testing.T) {
	for _, client := range []string{"WrapConfig", "stock"} {
		t.Run("client="+client, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			deadline := testTimeout
			if client == "stock" {
				deadline = time.Second / 2 // the control is to hang, or not to
			}
			a.SetDeadline(time.Now().Add(deadline))
			b.SetDeadline(time.Now().Add(deadline))
			serverConfig, clientConfig := testCA.ServerConfig(), resumable()
			serverConfig.CurvePreferences = []tls.CurveID{tls.CurveP384}
			clientConfig.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
			if client == "stock" {
				err := tryShake(tls.Server(a, serverConfig), tls.Client(b, clientConfig))
				var timeout net.Error
				if !errors.As(err, &timeout) || !timeout.Timeout() {
					t.Errorf("the control did not hang: %v", err)
				}
				return
			}
			sc, cc := WrapConn(a), WrapConn(b)
			s, c := tls.Server(sc, WrapConfig(serverConfig)), tls.Client(cc, WrapConfig(clientConfig))
			shake(t, s, c)
			if !c.ConnectionState().HelloRetryRequest {
				t.Fatal("no HelloRetryRequest: this test proves nothing")
			}
			exchange(t, c, s, "request")
			exchange(t, s, c, "response")
			mustEqual(t, "server", DeferralOn.String(), sc.Stats().Deferral.String())
			mustEqual(t, "client", DeferralOn.String(), cc.Stats().Deferral.String())
		})
	}
}

// http.Server.ServeTLS clones the Config, and adds certificates and protocols:
// HTTP/2 is negotiated all the same, and tickets wait.
func TestHTTP2ThroughServeTLSIsDeferred(t *testing.T) {
	_, certFile, keyFile, err := testCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []*Conn
	server := &http.Server{
		TLSConfig: WrapConfig(&tls.Config{}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s, TLS %v", r.Proto, r.TLS != nil)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, find(c))
			return ctx
		},
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(WrapListener(l), certFile, keyFile) }()
	cache := resumable()
	for i, protocol := range []string{"HTTP/2.0", "HTTP/2.0", "HTTP/1.1"} {
		transport := &http.Transport{TLSClientConfig: cache.Clone(), ForceAttemptHTTP2: protocol == "HTTP/2.0"}
		client := &http.Client{Transport: transport, Timeout: testTimeout}
		resp, err := client.Get("https://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := protocol + ", TLS true"; err != nil || string(body) != want || resp.Proto != protocol {
			t.Errorf("got %s %q, %v, want %q", resp.Proto, body, err, want)
		}
		if i == 1 && !resp.TLS.DidResume {
			t.Error("HTTP/2 did not resume")
		}
		transport.CloseIdleConnections()
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	mustEqual(t, "connections", 3, len(conns))
	for i, c := range conns {
		if stats := c.Stats(); stats.Deferral != DeferralOn || stats.ReleasedRecords < 1 {
			t.Errorf("connection %d: %+v", i, stats)
		}
	}
}
