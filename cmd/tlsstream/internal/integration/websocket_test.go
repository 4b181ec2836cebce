package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"testing"

	coder "github.com/coder/websocket"
	xnet "golang.org/x/net/websocket"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// unknown is a header that means nothing to either side, in the request and in the answer.
const unknown = "X-Unknown"

// A WebSocket server over our listener, and a client over our dialer.
func Example_websocket() {
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", testCA.ServerConfig())
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, nil)
		if err != nil {
			return // it has answered
		}
		kind, message, err := c.Read(r.Context())
		if err == nil {
			c.Write(r.Context(), kind, message)
		}
		c.Close(coder.StatusNormalClosure, "")
	})}
	go server.Serve(l)
	defer server.Close()

	ctx := context.Background()
	dialer := &tlsstream.Dialer{Config: testCA.ClientConfig()}
	c, _, err := coder.Dial(ctx, "wss://"+l.Addr().String(), &coder.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialTLSContext: dialer.DialContext}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, coder.MessageText, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	_, message, err := c.Read(ctx)
	fmt.Printf("%s %v\n", message, err)

	// Output:
	// hello <nil>
}

// received is what a WebSocket server got before the peer's close frame.
type received struct {
	Bytes int64
	Err   error
}

// Servers of one upload each.
var wsServers = map[string]func(got chan<- received) http.Handler{
	"x/net": func(got chan<- received) http.Handler {
		return xnet.Server{
			Handshake: func(config *xnet.Config, r *http.Request) error {
				config.Header = http.Header{unknown: {"from the server"}}
				return nil
			},
			Handler: func(c *xnet.Conn) {
				n, err := io.Copy(io.Discard, c)
				got <- received{n, err}
			},
		}
	},
	"coder": func(got chan<- received) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(unknown, "from the server")
			c, err := coder.Accept(w, r, &coder.AcceptOptions{InsecureSkipVerify: true}) // of Origin, that is
			if err != nil {
				got <- received{0, err}
				return
			}
			defer c.CloseNow()
			c.SetReadLimit(-1)
			var n int64
			for {
				_, message, err := c.Read(r.Context())
				if err != nil {
					if coder.CloseStatus(err) == coder.StatusNormalClosure {
						err = nil
					}
					got <- received{n, err}
					return
				}
				n += int64(len(message))
			}
		})
	},
}

// A wsConn sends binary messages and closes with a close frame.
type wsConn interface {
	Send(message []byte) error
	Close() error
}

type xnetConn struct{ *xnet.Conn }

func (c xnetConn) Send(message []byte) error { return xnet.Message.Send(c.Conn, message) }

type coderConn struct {
	*coder.Conn
	ctx context.Context
}

func (c coderConn) Send(message []byte) error { return c.Write(c.ctx, coder.MessageBinary, message) }
func (c coderConn) Close() error              { return c.Conn.Close(coder.StatusNormalClosure, "") }

// Clients: x/net's over a stream of ours, coder's over the *tls.Conn that http.Transport wants. A client that is refused
// returns the status.
var wsClients = map[string]func(ctx context.Context, addr string) (c wsConn, status int, err error){
	"x/net": func(ctx context.Context, addr string) (wsConn, int, error) {
		dialer := &tlsstream.Dialer{Config: resumable(testCA)}
		stream, err := dialer.DialStream(ctx, "tcp", addr)
		if err != nil {
			return nil, 0, err
		}
		config := &xnet.Config{
			Location: &url.URL{Scheme: "wss", Host: addr, Path: "/"},
			Origin:   &url.URL{Scheme: "https", Host: addr},
			Version:  xnet.ProtocolVersionHybi13,
			Header:   http.Header{unknown: {"from the client"}},
		}
		c, err := xnet.NewClient(config, stream)
		if err != nil {
			stream.Close()
			return nil, 0, err
		}
		return xnetConn{c}, http.StatusSwitchingProtocols, nil
	},
	"coder": func(ctx context.Context, addr string) (wsConn, int, error) {
		dialer := &tlsstream.Dialer{Config: resumable(testCA)}
		transport := &http.Transport{DialTLSContext: dialer.DialContext, DisableKeepAlives: true}
		c, response, err := coder.Dial(ctx, "wss://"+addr, &coder.DialOptions{
			HTTPClient: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			}},
			HTTPHeader: http.Header{unknown: {"from the client"}},
		})
		status := 0
		if response != nil {
			status = response.StatusCode
		}
		return coderConn{c, ctx}, status, err
	},
}

// serveWeb runs a net/http server over our listener. When a request comes, nothing has been written but the handshake:
// the ticket is held.
func serveWeb(t *testing.T, config *tls.Config, h http.Handler) *tlsstream.Listener {
	t.Helper()
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	type key struct{}
	server := &http.Server{
		ErrorLog:    log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, key{}, c) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stats, ok := tlsstream.StatsOf(r.Context().Value(key{}).(net.Conn))
			if !ok || stats.HeldRecords+int(stats.ReleasedRecords) == 0 {
				t.Errorf("no ticket was held: %+v", stats)
			}
			h.ServeHTTP(w, r)
		}),
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return l
}

// Uploads one way by WebSocket are whole, and headers that nobody knows are ignored.
func TestWebSocketUploads(t *testing.T) {
	message := make([]byte, 64<<10)
	const messages = 64 // 4 MiB
	for serverName, handler := range wsServers {
		for clientName, dial := range wsClients {
			t.Run(clientName+" to "+serverName, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
				defer cancel()
				got := make(chan received, 1)
				l := serveWeb(t, testCA.ServerConfig(), handler(got))
				c, _, err := dial(ctx, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				for range messages {
					if err := c.Send(message); err != nil {
						t.Fatal(err)
					}
				}
				// x/net's server ends without a close frame of its own.
				if err := c.Close(); err != nil && !(serverName == "x/net" && errors.Is(err, io.EOF)) {
					t.Error(err)
				}
				mustEqual(t, "received", received{int64(messages * len(message)), nil}, <-got)
			})
		}
	}
}

// Whatever is not 101 is an error, and not a connection.
func TestWebSocketRefused(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusFound, http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable} {
		for name, dial := range wsClients {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
				defer cancel()
				l := serveWeb(t, testCA.ServerConfig(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(status)
				}))
				_, got, err := dial(ctx, l.Addr().String())
				if err == nil {
					t.Fatal("a connection")
				}
				t.Log(err)
				if !errors.Is(err, xnet.ErrBadStatus) {
					mustEqual(t, "status", status, got)
				}
			})
		}
	}
}
