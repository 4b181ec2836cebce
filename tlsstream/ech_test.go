package tlsstream_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/cryptobyte"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// newECHKey makes a key for Encrypted Client Hello behind public.example, and the
// configuration list that clients find in DNS (draft-ietf-tls-esni 4).
func newECHKey(t *testing.T) (key tls.EncryptedClientHelloKey, configList []byte) {
	t.Helper()
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const (
		version   = 0xfe0d
		kemX25519 = 0x0020
		kdfSHA256 = 0x0001
		aes128GCM = 0x0001
	)
	var b cryptobyte.Builder
	b.AddUint16(version)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(1) // config_id
		b.AddUint16(kemX25519)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(private.PublicKey().Bytes()) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(kdfSHA256)
			b.AddUint16(aes128GCM)
		})
		b.AddUint8(32) // maximum_name_length
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte("public.example")) })
		b.AddUint16(0) // no extensions
	})
	config := b.BytesOrPanic()
	var list cryptobyte.Builder
	list.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(config) })
	return tls.EncryptedClientHelloKey{Config: config, PrivateKey: private.Bytes(), SendAsRetry: true}, list.BytesOrPanic()
}

// echConfigs are of a client that knows the server's key, and asks for
// secret.example.
func echConfigs(t *testing.T) (client, server *tls.Config, key tls.EncryptedClientHelloKey) {
	t.Helper()
	key, list := newECHKey(t)
	client, server = ticketConfigs()
	client.ServerName = "secret.example"
	client.EncryptedClientHelloConfigList = list
	server.Certificates = []tls.Certificate{testCA.Server("public.example"), testCA.Server("secret.example")}
	return client, server, key
}

func checkECH(t *testing.T, client, server dropInState) {
	t.Helper()
	wantBoth(t, "ECHAccepted", true, client.ECHAccepted, server.ECHAccepted)
	wantBoth(t, "ServerName", "secret.example", client.ServerName, server.ServerName)
}

// With Encrypted Client Hello the key log has a client_random that the wire does
// not show. Both sides defer all the same.
func TestECH(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, server, key := echConfigs(t)
		server.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{key}
		return client, server
	}, checkECH)
}

func TestECHWithKeysFromACallback(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, server, key := echConfigs(t)
		server.GetEncryptedClientHelloKeys = func(*tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) {
			return []tls.EncryptedClientHelloKey{key}, nil
		}
		return client, server
	}, checkECH)
}

func TestECHWithHelloRetryRequest(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, server, key := echConfigs(t)
		server.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{key}
		client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
		server.CurvePreferences = []tls.CurveID{tls.CurveP384}
		return client, server
	}, func(t *testing.T, client, server dropInState) {
		checkECH(t, client, server)
		wantBoth(t, "HelloRetryRequest", true, client.HelloRetryRequest, server.HelloRetryRequest)
	})
}

// Sessions resume under ECH, and again after that.
func TestECHResumes(t *testing.T) {
	t.Parallel()
	for _, d := range dropIns {
		clientConfig, serverConfig, key := echConfigs(t)
		serverConfig.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{key}
		var resumed []bool
		for range 3 {
			client, server := d.run(t, clientConfig, serverConfig)
			checkECH(t, client, server)
			resumed = append(resumed, client.DidResume)
		}
		if diff := cmp.Diff([]bool{false, true, true}, resumed); diff != "" {
			t.Errorf("%s: DidResume, -want +got:\n%s", d.name, diff)
		}
	}
}

// A server with another key refuses, and the client's error has the configurations
// to try again with.
func TestECHRejectionIsInTheError(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig, _ := echConfigs(t)
	otherKey, otherList := newECHKey(t)
	serverConfig.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{otherKey}
	a, b := membio.Pipe(wide(1 << 16))
	client, server := tlsstream.Client(a, clientConfig), tlsstream.Server(b, serverConfig)
	defer client.Close()
	defer server.Close()
	err := handshakeBoth(client, server)
	var rejected *tls.ECHRejectionError
	if !errors.As(err, &rejected) {
		t.Fatalf("handshake: %v", err)
	}
	if diff := cmp.Diff(otherList, rejected.RetryConfigList); diff != "" {
		t.Errorf("RetryConfigList, -want +got:\n%s", diff)
	}
	clientConfig.EncryptedClientHelloConfigList = rejected.RetryConfigList
	for _, d := range dropIns {
		c, s := d.run(t, clientConfig, serverConfig)
		checkECH(t, c, s)
	}
}
