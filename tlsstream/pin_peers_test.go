package tlsstream_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A pinned is one who is known by its key.
type pinned struct {
	cert tls.Certificate
	pin  tlsstream.Pin
}

func newPinned(t testing.TB, key crypto.Signer) pinned {
	t.Helper()
	cert, err := tlsstream.PinnedIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := tlsstream.PinOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pinned{cert, pin}
}

func newPinnedECDSA(t testing.TB) pinned {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newPinned(t, key)
}

// config is p's configuration, as client and as server, with the list of those it accepts.
func (p pinned) config(pins ...tlsstream.Pin) *tls.Config {
	config := tlsstream.PinPeers(pins...)
	config.Certificates = []tls.Certificate{p.cert}
	return config
}

// pinMeeting has a client say "hello" to a server that says it back, and returns what each ended with.
func pinMeeting(t testing.TB, clientConfig, serverConfig *tls.Config) (client, server error, resumed bool) {
	t.Helper()
	a, b := abortTCP(t)
	c, s := tlsstream.Client(a, clientConfig), tlsstream.Server(b, serverConfig)
	defer c.Close()
	served := make(chan error, 1)
	go func() {
		defer s.Close()
		_, err := io.CopyN(s, s, 5)
		served <- err
	}()
	client = c.Handshake()
	if client == nil {
		resumed = c.ConnectionState().DidResume
		_, client = c.Write([]byte("hello"))
	}
	if client == nil {
		_, client = io.ReadFull(c, make([]byte, 5))
	}
	c.Close()
	return client, <-served, resumed
}

// Those on each other's lists meet, whatever kind of key they have.
func TestPinnedPeersMeet(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newPinnedECDSA(t)
	for _, client := range []pinned{newPinnedECDSA(t), newPinned(t, edKey), newPinned(t, rsaKey)} {
		for _, server := range []pinned{newPinnedECDSA(t), newPinned(t, edKey), newPinned(t, rsaKey)} {
			c, s, _ := pinMeeting(t, client.config(stranger.pin, server.pin), server.config(client.pin, stranger.pin))
			if c != nil || s != nil {
				t.Errorf("%T and %T: %v and %v", client.cert.PrivateKey, server.cert.PrivateKey, c, s)
			}
		}
	}
}

// wantRefused fails the test unless the stranger reads whose list its key is not on, and the other whose key it was.
func wantRefused(t *testing.T, stranger, other error, side string, pin tlsstream.Pin) {
	t.Helper()
	var alert *tlsstream.AlertError
	if !errors.As(stranger, &alert) || !alert.Remote || alert.Alert != tlsstream.AlertBadCertificate {
		t.Errorf("the stranger's error is %v, want the alert bad_certificate", stranger)
	}
	if want := "your key is not on the " + side + "'s list"; stranger == nil || !strings.Contains(stranger.Error(), want) {
		t.Errorf("the stranger's error is %v, which does not say %q", stranger, want)
	}
	if other == nil || !strings.Contains(other.Error(), pin.String()) {
		t.Errorf("the other's error is %v, which does not name %v", other, pin)
	}
}

func TestPinnedServerRefusesAStranger(t *testing.T) {
	for range 20 {
		server, friend, stranger := newPinnedECDSA(t), newPinnedECDSA(t), newPinnedECDSA(t)
		c, s, _ := pinMeeting(t, stranger.config(server.pin), server.config(friend.pin))
		wantRefused(t, c, s, "server", stranger.pin)
	}
}

func TestPinnedClientRefusesAStranger(t *testing.T) {
	for range 20 {
		client, friend, stranger := newPinnedECDSA(t), newPinnedECDSA(t), newPinnedECDSA(t)
		c, s, _ := pinMeeting(t, client.config(friend.pin), stranger.config(client.pin))
		wantRefused(t, s, c, "client", stranger.pin)
	}
}

// A client without a certificate is told that it needs one.
func TestPinnedServerWantsACertificate(t *testing.T) {
	server, friend := newPinnedECDSA(t), newPinnedECDSA(t)
	c, s, _ := pinMeeting(t, tlsstream.PinPeers(server.pin), server.config(friend.pin))
	var alert *tlsstream.AlertError
	if !errors.As(c, &alert) || alert.Alert != tlsstream.AlertCertificateRequired || s == nil {
		t.Errorf("client: %v, server: %v", c, s)
	}
}

// Whose certificate is signed by whom, and for whom, does not matter; that it has the key does.
func TestPinnedKeyIsAllThatCounts(t *testing.T) {
	client := newPinnedECDSA(t)
	server := abortCA.Server("elsewhere.example")
	pin, err := tlsstream.PinOf(server.Leaf.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	serverConfig := client.config(client.pin)
	serverConfig.Certificates = []tls.Certificate{server}
	if c, s, _ := pinMeeting(t, client.config(pin), serverConfig); c != nil || s != nil {
		t.Errorf("client: %v, server: %v", c, s)
	}

	// The friend's certificate, which anybody can copy, with a key of one's own.
	thief := newPinnedECDSA(t)
	thief.cert.Certificate = server.Certificate
	thief.cert.Leaf = server.Leaf
	serverConfig.Certificates = []tls.Certificate{thief.cert}
	if c, s, _ := pinMeeting(t, client.config(pin), serverConfig); c == nil || s == nil {
		t.Errorf("the owner of another key was accepted: %v and %v", c, s)
	}
}

// A ticket from the time when a key was on the list is of no use once it is not: on either side.
func TestPinsAreCheckedOnResumption(t *testing.T) {
	server, client, friend := newPinnedECDSA(t), newPinnedECDSA(t), newPinnedECDSA(t)
	clientConfig := client.config(server.pin)
	clientConfig.ServerName = "server" // to be found in the cache
	clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	serverConfig := server.config(client.pin)
	serverConfig.SetSessionTicketKeys([][32]byte{{1}})
	for i := range 2 {
		if c, s, resumed := pinMeeting(t, clientConfig, serverConfig); c != nil || s != nil || resumed != (i > 0) {
			t.Fatalf("connection %d: %v and %v, resumed: %v", i, c, s, resumed)
		}
	}

	t.Run("server", func(t *testing.T) {
		changed := server.config(friend.pin)
		changed.SetSessionTicketKeys([][32]byte{{1}})
		c, s, _ := pinMeeting(t, clientConfig, changed)
		wantRefused(t, c, s, "server", client.pin)
	})
	t.Run("client", func(t *testing.T) {
		changed := client.config(friend.pin)
		changed.ServerName, changed.ClientSessionCache = clientConfig.ServerName, clientConfig.ClientSessionCache
		c, s, _ := pinMeeting(t, changed, serverConfig)
		wantRefused(t, s, c, "client", server.pin)
	})
}

// A pin is what other programs make of a key: SHA-256 of its SubjectPublicKeyInfo, in base64.
func TestPinIsThatOfOtherPrograms(t *testing.T) {
	p := newPinnedECDSA(t)
	leaf, err := x509.ParseCertificate(p.cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	if got, want := p.pin.String(), "sha256/"+base64.StdEncoding.EncodeToString(sum[:]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	other := newPinnedECDSA(t)
	l := listenClients(t, tlsstream.Options{}, &tls.Config{Certificates: []tls.Certificate{p.cert}}, true)
	s := serveClients(t, l, answer)
	for pin, want := range map[tlsstream.Pin]int{p.pin: 0, other.pin: 90} {
		text := strings.Replace(pin.String(), "sha256/", "sha256//", 1)
		end := runClient(t, "", tlstest.Program(t, "curl"), "-q", "-sS", "-k", "--pinnedpubkey", text, "-o", os.DevNull,
			s.url(clientPath{"eof", "complete"}))
		if end.Code != want {
			t.Errorf("curl ends with %d, want %d: %s", end.Code, want, end.Says)
		}
	}
}

func TestParsePin(t *testing.T) {
	p := newPinnedECDSA(t)
	got, err := tlsstream.ParsePin(p.pin.String())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.pin, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	text := strings.TrimPrefix(p.pin.String(), "sha256/")
	for _, bad := range []string{
		"",
		text,
		"sha256/",
		"sha256//" + text,
		"SHA256/" + text,
		"sha1/" + text,
		"sha256/" + text[:len(text)-4],
		"sha256/" + text + "AAAA",
		"sha256/" + text + "\n",
		"sha256/" + text[:42] + string(text[42]+1) + "=", // the same but for bits that do not count
		" sha256/" + text,
		"sha256/" + strings.TrimRight(text, "="),
		fmt.Sprintf("sha256/%x", p.pin[:]),
	} {
		if got, err := tlsstream.ParsePin(bad); err == nil || got != (tlsstream.Pin{}) {
			t.Errorf("%q: %v, %v; want an error", bad, got, err)
		}
	}
}

func TestPinMisuse(t *testing.T) {
	if _, err := tlsstream.PinOf("not a key"); err == nil {
		t.Error("PinOf of a string succeeded")
	}
	if _, err := tlsstream.PinnedIdentity(notASigner{}); err == nil {
		t.Error("PinnedIdentity of a key of no known type succeeded")
	}
	defer func() {
		if recover() == nil {
			t.Error("PinPeers without pins returned")
		}
	}()
	tlsstream.PinPeers()
}

type notASigner struct{}

func (notASigner) Public() crypto.PublicKey { return "not a key" }
func (notASigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no key")
}
