package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// greet is a backend that says its name and reads to the end.
func greet(t *testing.T, name string) (address string) {
	b := newBackend(t)
	go func() {
		for {
			conn, err := b.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, name)
				conn.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, conn)
			}()
		}
	}()
	return b.address()
}

// client is a configuration with a certificate for alice, or without one.
func client(certificates ...tls.Certificate) *tls.Config {
	config := testCA.ClientConfig()
	config.Certificates = certificates
	return config
}

func TestOnlyThoseOnTheListAreLetIn(t *testing.T) {
	config := testConfig(greet(t, "welcome"))
	config.TLS.ClientCAs, config.TLS.ClientAuth = testCA.Pool(), tls.RequireAndVerifyClientCert
	config.AllowedNames = []string{"bob", "Alice"}
	r := start(t, config)

	in := r.dial(t, client(testCA.Client("alice")))
	expect(t, in, "welcome")
	expectEnd(t, in, io.EOF)

	expectAlert(t, r.dial(t, client(testCA.Client("mallory"))), tlsstream.AlertAccessDenied)
	expectAlert(t, r.dial(t, client()), tlsstream.AlertCertificateRequired)
	expectAlert(t, r.dial(t, client(tlstest.NewCA().Client("alice"))), tlsstream.AlertUnknownCA)
}

// A ticket must not carry a client past a list that it is no longer on.
func TestResumptionIsCheckedToo(t *testing.T) {
	address := greet(t, "welcome")
	server := testCA.ServerConfig()
	server.ClientCAs, server.ClientAuth = testCA.Pool(), tls.RequireAndVerifyClientCert
	server.SetSessionTicketKeys([][32]byte{{1}})
	alice := client(testCA.Client("alice"))
	alice.ClientSessionCache = tls.NewLRUClientSessionCache(1)

	start1 := func(names ...string) *running {
		config := testConfig(address)
		config.TLS, config.AllowedNames = server, names
		return start(t, config)
	}
	in := start1("alice").dial(t, alice)
	expect(t, in, "welcome")
	expectEnd(t, in, io.EOF)
	out := start1("bob").dial(t, alice)
	if !out.ConnectionState().DidResume {
		t.Fatal("blind: the session was not resumed")
	}
	expectAlert(t, out, tlsstream.AlertAccessDenied)
}

func TestNamesOfACertificate(t *testing.T) {
	state := func(cert tls.Certificate) tls.ConnectionState {
		return tls.ConnectionState{PeerCertificates: append(tls.ConnectionState{}.PeerCertificates, cert.Leaf)}
	}
	for _, test := range []struct {
		cert  tls.Certificate
		names []string
		in    bool
	}{
		{testCA.Server("a.example", "192.0.2.1"), []string{"A.Example"}, true},
		{testCA.Server("a.example", "192.0.2.1"), []string{"192.0.2.1"}, true},
		{testCA.Server("a.example"), []string{"example", "*"}, false},
		// The common name counts only where there is nothing else.
		{testCA.Client("alice"), []string{"alice"}, true},
		{testCA.Client("alice"), []string{"alic", "alicee", ""}, false},
	} {
		if err := Allowed(state(test.cert), test.names); (err == nil) != test.in {
			t.Errorf("%q: %v", test.names, err)
		}
	}
	if Allowed(tls.ConnectionState{}, []string{""}) == nil {
		t.Error("who shows no certificate is let in")
	}
}

func TestPinnedPeers(t *testing.T) {
	alice, mallory := testCA.Client("alice"), testCA.Client("mallory")
	pin := func(cert tls.Certificate) tlsstream.Pin {
		p, err := tlsstream.PinOf(cert.Leaf.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	config := testConfig(greet(t, "welcome"))
	config.TLS = tlsstream.PinPeers(pin(alice))
	config.TLS.Certificates = []tls.Certificate{testCA.Server()}
	r := start(t, config)
	expect(t, r.dial(t, client(alice)), "welcome")
	expectAlert(t, r.dial(t, client(mallory)), tlsstream.AlertBadCertificate)

	// The same, when originating: the backend is the one that is pinned.
	server := testCA.Server()
	b := newBackend(t)
	config = originating(b.address())
	config.TLS = tlsstream.PinPeers(pin(alice))
	plain := start(t, config).dialPlain(t)
	stream := tlsstream.Server(b.accept(), &tls.Config{Certificates: []tls.Certificate{server}})
	expectAlert(t, stream, tlsstream.AlertBadCertificate)
	expectReset(t, plain)
}

func TestRoutesByALPN(t *testing.T) {
	config := testConfig(greet(t, "no protocol"))
	config.Routes = []Route{{"h2", greet(t, "two")}, {"http/1.1", greet(t, "one")}}
	r := start(t, config)
	with := func(protocols ...string) *tls.Config {
		c := testCA.ClientConfig()
		c.NextProtos = protocols
		return c
	}
	expect(t, r.dial(t, with("http/1.1")), "one")
	expect(t, r.dial(t, with("http/1.1", "h2")), "two") // the server's order
	expect(t, r.dial(t, with()), "no protocol")
	_, err := tlsstream.Dial("tcp", r.address, with("smtp"))
	alertIs(t, err, tlsstream.AlertNoApplicationProtocol)

	config.To = ""
	expectAlert(t, start(t, config).dial(t, with()), tlsstream.AlertNoApplicationProtocol)
}

// The header is read by the library that wrote it; what is in it is compared with what
// the client knows.
func TestProxyHeader(t *testing.T) {
	b := newBackend(t)
	config := testConfig(b.address())
	config.ProxyHeader = true
	config.Routes = []Route{{"h2", b.address()}}
	config.TLS.ClientCAs, config.TLS.ClientAuth = testCA.Pool(), tls.VerifyClientCertIfGiven
	r := start(t, config)
	for _, test := range []struct {
		config *tls.Config
		ssl    tlvparse.PP2SSL
	}{
		{client(), tlvparse.PP2SSL{Client: 1, Verify: 1}},
		{client(testCA.Client("alice")), tlvparse.PP2SSL{Client: 1 | 2 | 4, Verify: 0}},
	} {
		test.config.NextProtos = []string{"h2"}
		stream := r.dial(t, test.config)
		mustWrite(t, stream, "request")
		reader := bufio.NewReader(b.accept())
		h, err := proxyproto.Read(reader)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, reader, "request")
		addresses := []string{h.SourceAddr.String(), h.DestinationAddr.String()}
		if diff := cmp.Diff([]string{stream.LocalAddr().String(), r.address}, addresses); diff != "" {
			t.Error(diff)
		}
		tlvs, err := h.TLVs()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"h2", "localhost"}, []string{string(tlvs[0].Value), string(tlvs[1].Value)}); diff != "" {
			t.Error(diff)
		}
		ssl, _ := tlvparse.FindSSL(tlvs)
		version, _ := ssl.SSLVersion()
		name, _ := ssl.ClientCN()
		if ssl.Client != test.ssl.Client || ssl.Verify != test.ssl.Verify || version != "TLSv1.3" || (name == "alice") != (ssl.Verify == 0) {
			t.Errorf("%+v", ssl)
		}
	}
}

func TestProxyHeaderComesBeforeTLSToTheBackend(t *testing.T) {
	b := newBackend(t)
	config := originating(b.address())
	config.ProxyHeader = true
	r := start(t, config)
	plain := r.dialPlain(t)
	back := b.accept()
	h, err := proxyproto.Read(bufio.NewReaderSize(back, 16)) // no larger, or it would take the ClientHello, too
	if err != nil {
		t.Fatal(err)
	}
	if h.SourceAddr.String() != plain.LocalAddr().String() {
		t.Errorf("%v, want %v", h.SourceAddr, plain.LocalAddr())
	}
}
