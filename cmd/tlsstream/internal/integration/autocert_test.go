package integration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A server with certificates from Let's Encrypt. It is the same with a Config of certmagic's, whose part is GetCertificate
// too.
func Example_autocert() {
	manager := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: autocert.HostWhitelist("upload.example.com"),
		Cache:      autocert.DirCache("certificates"),
	}
	l, err := tlsstream.Listen("tcp", ":443", manager.TLSConfig())
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(l, nil))
}

// A fullCache is an autocert.Cache that has all that is asked for.
type fullCache map[string][]byte

func (c fullCache) Get(_ context.Context, key string) ([]byte, error) {
	if data, ok := c[key]; ok {
		return data, nil
	}
	return nil, autocert.ErrCacheMiss
}
func (fullCache) Put(context.Context, string, []byte) error { return nil }
func (fullCache) Delete(context.Context, string) error      { return nil }

// put stores a certificate as autocert does.
func (c fullCache) put(t *testing.T, key string, certificate tls.Certificate) {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(certificate.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	pem.Encode(&data, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	for _, der := range certificate.Certificate {
		pem.Encode(&data, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	c[key] = data.Bytes()
}

// autocert's GetCertificate and its ALPN work through WrapConfig: a name gets its certificate, the CA's challenge gets its
// own, tickets are deferred, and connections resume.
func TestAutocert(t *testing.T) {
	const name = "upload.example.com"
	site, token := testCA.Server(name), testCA.Server(name)
	cache := fullCache{}
	cache.put(t, name, site)
	cache.put(t, name+"+token", token)
	manager := &autocert.Manager{
		Prompt:      autocert.AcceptTOS,
		HostPolicy:  autocert.HostWhitelist(name),
		Cache:       cache,
		RenewBefore: 2 * time.Hour,                                    // the certificate has 24 left: it is not renewed now,
		Client:      &acme.Client{DirectoryURL: "http://127.0.0.1:1"}, // and could not be
	}
	seen := &noting{Listener: ticketdefer.WrapListener(listen(t))}
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }),
	}
	go server.Serve(tls.NewListener(seen, ticketdefer.WrapConfig(manager.TLSConfig())))
	defer server.Close()

	client := resumable(testCA)
	client.ServerName = name
	for i := range 2 {
		c := dialAutocert(t, seen.Addr().String(), client)
		mustEqual(t, "certificate", site.Certificate[0], c.ConnectionState().PeerCertificates[0].Raw)
		mustEqual(t, "resumed", i > 0, c.ConnectionState().DidResume)
		stats := seen.all()[i].Stats()
		mustEqual(t, "tickets that wait", 1, stats.HeldRecords)
		if _, err := io.WriteString(c, "HEAD / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil { // the answer, and the ticket with it
			t.Fatal(err)
		}
	}

	challenge := testCA.ClientConfig()
	challenge.ServerName, challenge.NextProtos = name, []string{acme.ALPNProto}
	c := dialAutocert(t, seen.Addr().String(), challenge)
	mustEqual(t, "protocol", acme.ALPNProto, c.ConnectionState().NegotiatedProtocol)
	mustEqual(t, "certificate of the challenge", token.Certificate[0], c.ConnectionState().PeerCertificates[0].Raw)

	unknown := testCA.ClientConfig()
	unknown.ServerName = "other.example.com"
	if c, err := tls.Dial("tcp", seen.Addr().String(), unknown); err == nil {
		c.Close()
		t.Error("a name that is not on the list has a certificate")
	}
}

func dialAutocert(t *testing.T, addr string, config *tls.Config) *tls.Conn {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: testTimeout}, "tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
