package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"testing"

	utls "github.com/refraction-networking/utls"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/utlspeer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// dialHTTP connects to a server with the fingerprint of a browser, over our layer, and speaks the HTTP that the two agree
// upon. net/http would do HTTP/2 over a *tls.Conn only, and utls's type is its own; but HTTP/2 without TLS it speaks over
// any connection, and this one has TLS.
func dialHTTP(ctx context.Context, addr string, config *utls.Config, browser utls.ClientHelloID) (*http.ClientConn, *ticketdefer.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	layer := ticketdefer.WrapConn(raw)
	config = config.Clone()
	config.KeyLogWriter = ticketdefer.KeyLogWriter(config.KeyLogWriter)
	conn := utls.UClient(layer, config, browser)
	if err := conn.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, nil, err
	}
	dialed := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport, scheme := &http.Transport{DialTLSContext: dialed}, "https"
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		transport, scheme = &http.Transport{DialContext: dialed, Protocols: new(http.Protocols)}, "http"
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	client, err := transport.NewClientConn(ctx, scheme, addr)
	if err != nil {
		conn.Close()
	}
	return client, layer, err
}

// A request that looks like Firefox's.
func Example_utls() {
	config := testCA.ServerConfig()
	config.NextProtos = []string{"h2", "http/1.1"}
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Proto) })}
	go server.Serve(l)
	defer server.Close()

	browser := &utls.Config{RootCAs: testCA.Pool(), ServerName: "localhost"}
	client, _, err := dialHTTP(context.Background(), l.Addr().String(), browser, utls.HelloFirefox_Auto)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	request, err := http.NewRequest("GET", "https://localhost/", nil)
	if err != nil {
		log.Fatal(err)
	}
	response, err := client.RoundTrip(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	fmt.Printf("%s%v\n", answer, err)

	// Output:
	// HTTP/2.0
	// <nil>
}

// A look is what a server sees of a client's fingerprint, without what is random in it: GREASE (RFC 8701), and the order,
// which some browsers shuffle.
type look struct {
	Suites, Extensions []uint16
	Protos             []string
}

func lookOf(hello *tls.ClientHelloInfo) look {
	plain := func(all []uint16) (kept []uint16) {
		for _, v := range all {
			if v&0x0f0f != 0x0a0a || v>>8 != v&0xff {
				kept = append(kept, v)
			}
		}
		slices.Sort(kept)
		return kept
	}
	return look{plain(hello.CipherSuites), plain(hello.Extensions), hello.SupportedProtos}
}

// Browsers' fingerprints keep their looks over our layer, upload by HTTP/1.1 and by HTTP/2, and defer.
func TestUTLSClients(t *testing.T) {
	body := bytes.Repeat([]byte("body"), 256<<10)
	for _, family := range utlspeer.Families() {
		if !slices.Contains([]string{"chrome", "firefox", "safari"}, family.Name) {
			continue
		}
		for _, proto := range []struct{ alpn, name string }{{"h2", "HTTP/2.0"}, {"http/1.1", "HTTP/1.1"}} {
			t.Run(family.Name+" "+proto.name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
				defer cancel()
				looks := make(chan look, 2)
				config := testCA.ServerConfig()
				config.NextProtos = []string{proto.alpn}
				config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					looks <- lookOf(hello)
					return nil, nil
				}
				l := serveWeb(t, config, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					got, err := io.ReadAll(r.Body)
					fmt.Fprintln(w, r.Proto, bytes.Equal(got, body), err)
				}))

				bare, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer bare.Close()
				if err := utlspeer.Client(bare, resumable(testCA), family.ID).HandshakeContext(ctx); err != nil {
					t.Fatal(err)
				}
				want := <-looks

				browser := &utls.Config{
					RootCAs: testCA.Pool(), ServerName: "localhost",
					ClientSessionCache: utls.NewLRUClientSessionCache(1), OmitEmptyPsk: true,
				}
				client, layer, err := dialHTTP(ctx, l.Addr().String(), browser, family.ID)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				mustEqual(t, "look", want, <-looks)
				request, err := http.NewRequestWithContext(ctx, "POST", "https://localhost/", bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				answer, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				mustEqual(t, "answer", proto.name+" true <nil>\n", string(answer))
				mustEqual(t, "deferral", ticketdefer.DeferralOn.String(), layer.Stats().Deferral.String())
			})
		}
	}
}
