package ticketdefer

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// An echSetup is one Encrypted Client Hello key pair, as both sides are given it.
type echSetup struct {
	keys []tls.EncryptedClientHelloKey
	list []byte
}

// newECH makes a key pair (RFC 9849 section 4).
func newECH(t testing.TB) echSetup {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const name = "public.example"
	contents := append([]byte{7, 0x00, 0x20, 0, 32}, key.PublicKey().Bytes()...) // id, DHKEM(X25519)
	contents = append(contents, 0, 4, 0, 1, 0, 1)                                // HKDF-SHA256, AES-128-GCM
	contents = append(contents, 32, byte(len(name)))
	contents = append(contents, name...)
	contents = append(contents, 0, 0) // no extensions
	config := append([]byte{0xfe, 0x0d, 0, byte(len(contents))}, contents...)
	return echSetup{
		keys: []tls.EncryptedClientHelloKey{{Config: config, PrivateKey: key.Bytes(), SendAsRetry: true}},
		list: append([]byte{0, byte(len(config))}, config...),
	}
}

// configs returns settings with ECH; the secret name is that of the server.
func (e echSetup) configs() (server, client *tls.Config) {
	server, client = testCA.ServerConfig(), resumable()
	server.Certificates = []tls.Certificate{testCA.Server("public.example"), testCA.Server("secret.example")}
	server.EncryptedClientHelloKeys = e.keys
	client.ServerName = "secret.example"
	client.EncryptedClientHelloConfigList = e.list
	return server, client
}

// The client_random on the wire is not the one in the key log. A server is
// deferred all the same.
func TestECHServerIsDeferred(t *testing.T) {
	ech := newECH(t)
	variants := map[string]func(server, client *tls.Config){
		"EncryptedClientHelloKeys": func(*tls.Config, *tls.Config) {},
		"GetEncryptedClientHelloKeys": func(server, _ *tls.Config) {
			server.EncryptedClientHelloKeys = nil
			server.GetEncryptedClientHelloKeys = func(*tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) { return ech.keys, nil }
		},
		"GetConfigForClient": func(server, _ *tls.Config) {
			chosen := server.Clone()
			server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return chosen, nil }
		},
		"client certificate": handshakes["client certificate"],
		"HelloRetryRequest": func(server, client *tls.Config) {
			server.CurvePreferences = []tls.CurveID{tls.CurveP384}
			client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
		},
	}
	for name, change := range variants {
		for wrapper, wrap := range wrappers {
			t.Run(name+"/"+wrapper, func(t *testing.T) {
				serverConfig, clientConfig := ech.configs()
				change(serverConfig, clientConfig)
				conn, server, client := serve(t, wrap, serverConfig, clientConfig)
				if !server.ECHAccepted || !client.ECHAccepted || server.ServerName != "secret.example" {
					t.Fatal("ECH was not used: this test proves nothing")
				}
				mustEqual(t, "deferral", DeferralOn.String(), conn.Stats().Deferral.String())
				mustEqual(t, "registered", 0, registered())
			})
		}
	}
}

// A client whose ECH is rejected, and one that sends none, are served as ever.
func TestECHRejectedAndNotOffered(t *testing.T) {
	ech, old := newECH(t), newECH(t)
	serverConfig, clientConfig := ech.configs()
	clientConfig.EncryptedClientHelloConfigList = nil
	conn, _, _ := serve(t, wrappers["WrapConfig"], serverConfig, clientConfig)
	mustEqual(t, "deferral", DeferralOn.String(), conn.Stats().Deferral.String())

	clientConfig.EncryptedClientHelloConfigList = old.list
	a, b := tlstest.TCPPair(t)
	conn = WrapConn(a)
	defer conn.Close()
	server, client := tls.Server(conn, WrapConfig(serverConfig)), tls.Client(b, clientConfig)
	var rejected *tls.ECHRejectionError
	if err := tryShake(server, client); !errors.As(err, &rejected) {
		t.Errorf("handshake: %v", err)
	}
	mustEqual(t, "registered", 0, registered())
}

// A client that makes the tls.Conn itself is deferred, whatever is encrypted;
// one with WrapConfig alone is not, and says so.
func TestECHClient(t *testing.T) {
	ech := newECH(t)
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			serverConfig, clientConfig := ech.configs()
			a, b := tlstest.TCPPair(t)
			wire := &recorder{Conn: a}
			conn := WrapConn(wire)
			client := tls.Client(conn, wrap(clientConfig, conn))
			p := newPuppetServer(t, client, b, serverConfig)
			if !client.ConnectionState().ECHAccepted {
				t.Fatal("ECH was not used: this test proves nothing")
			}
			mustWrite(t, client, []byte("request"))
			p.expect(t, "request")
			wire.take()
			flood(t, p, client, 3)
			deferred := name == "BindConfig"
			mustEqual(t, "writes before the next request", map[bool]int{true: 0, false: 3}[deferred], len(wire.take()))
			for range maxTrials {
				mustWrite(t, client, []byte("more"))
				p.expect(t, "more")
			}
			mustEqual(t, "updates", 3, p.updates)
			want := map[bool]Deferral{true: DeferralOn, false: DeferralNoSecret}[deferred]
			mustEqual(t, "deferral", want.String(), conn.Stats().Deferral.String())
		})
	}
}

// Several connections with ECH at once are told apart by their records, as long
// as no more than maxCandidates log their secrets at the same moment.
func TestECHServersAtOnce(t *testing.T) {
	ech := newECH(t)
	for _, n := range []int{2, maxCandidates} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			for i, conn := range echAtOnce(t, ech, n) {
				if stats := conn.Stats(); stats.Deferral != DeferralOn {
					t.Errorf("connection %d: %+v", i, stats)
				}
			}
		})
	}
}

// echAtOnce serves n clients with certificates, each of which sends its second
// flight when all have got the server's first: until then no gate can know its
// own secret among all that were logged.
func echAtOnce(t *testing.T, ech echSetup, n int) (conns []*Conn) {
	t.Helper()
	serverConfig, clientConfig := ech.configs()
	handshakes["client certificate"](serverConfig, clientConfig)
	alice := clientConfig.Certificates[0]
	clientConfig.Certificates = nil
	var all, busy sync.WaitGroup
	all.Add(n)
	clientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		all.Done()
		all.Wait()
		return &alice, nil
	}
	wrapped := WrapConfig(serverConfig)
	for range n {
		a, b := tlstest.TCPPair(t)
		conn := WrapConn(a)
		conns = append(conns, conn)
		server, client := tls.Server(conn, wrapped), tls.Client(b, clientConfig)
		busy.Go(func() {
			if err := tryShake(server, client); err != nil {
				t.Error(err)
			}
			if _, err := server.Write([]byte("response")); err != nil {
				t.Error(err)
			}
			server.Close()
			client.Close()
		})
	}
	busy.Wait()
	return conns
}

// A line of TLS 1.2 that no Conn claims, as from a wrapped Config over another
// net.Conn, is no word on those that wait for a secret under ECH.
func TestECHGateIgnoresForeignTLS12(t *testing.T) {
	s := newStack(t, NewServerGate(), suites[0])
	sessions.expectECH(s.gate)
	defer sessions.remove([randomLen]byte{}, s.gate)
	line := labelTLS12 + " " + strings.Repeat("07", randomLen) + " " + strings.Repeat("00", 48) + "\n"
	if _, err := KeyLogWriter(nil).Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	s.handshake()
	s.ticket(300, maxPlaintext, 0)
	s.deferral(DeferralOn)
}

// Waiting gates are bounded in number; the oldest goes first.
func TestBoundedECHGates(t *testing.T) {
	var gates []*Gate
	for i := range maxECH + 10 {
		g := NewServerGate()
		gates = append(gates, g)
		sessions.expectECH(g)
		sessions.expectECH(g) // crypto/tls calls the hook twice
		mustEqual(t, "registered", min(i+1, maxECH), registered())
	}
	for _, g := range gates {
		sessions.remove([randomLen]byte{}, g)
	}
	mustEqual(t, "registered", 0, registered())
}
