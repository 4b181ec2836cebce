package torture

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"time"
)

// bigCertificate makes a ticket of about as many bytes: more than the buffers of the networks that scenario
// huge-ticket runs on, less than the 65,535 that crypto/tls can put into one.
const bigCertificate = 56_000

const serverName = "torture.invalid"

// An identity holds the certificates of a plan. They follow from its seed, and an Ed25519 signature has always the same
// length, so the flights of the same run have, too: where a flight ends decides about a deadlock.
type identity struct {
	roots                  *x509.CertPool
	server, client, bigOne tls.Certificate

	// ecdsa is the server's for clients that do not offer Ed25519: no browser does.
	ecdsa tls.Certificate
}

func newIdentity(seed uint64) (*identity, error) {
	id := &identity{roots: x509.NewCertPool()}
	for _, c := range []struct {
		use    string
		newKey func(seed [32]byte) (crypto.Signer, error)
		bulk   int
		cert   *tls.Certificate
	}{
		{"server", newEd25519, 0, &id.server},
		{"ecdsa server", newEvenECDSA, 0, &id.ecdsa},
		{"client", newEd25519, 0, &id.client},
		{"big client", newEd25519, bigCertificate, &id.bigOne},
	} {
		key, err := c.newKey(streamSeed(seed, c.use))
		if err == nil {
			*c.cert, err = selfSigned(key, c.bulk)
		}
		if err != nil {
			return nil, fmt.Errorf("torture: no %s certificate: %w", c.use, err)
		}
	}
	id.roots.AddCert(id.server.Leaf)
	id.roots.AddCert(id.ecdsa.Leaf)
	return id, nil
}

func newEd25519(seed [32]byte) (crypto.Signer, error) { return ed25519.NewKeyFromSeed(seed[:]), nil }

// An evenECDSA makes signatures of 71 bytes only. Of all signatures with P-256 half have that length, and most others
// 70 or 72.
type evenECDSA struct{ *ecdsa.PrivateKey }

const evenSignature = 71

func newEvenECDSA(seed [32]byte) (crypto.Signer, error) {
	seed[0] &= 0x7f // less than the order of the curve
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
	return evenECDSA{key}, err
}

func (k evenECDSA) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	for {
		signature, err := k.PrivateKey.Sign(random, digest, opts)
		if err != nil || len(signature) == evenSignature {
			return signature, err
		}
	}
}

// selfSigned returns a certificate with a private extension of bulk bytes.
func selfSigned(key crypto.Signer, bulk int) (tls.Certificate, error) {
	filling, err := asn1.Marshal(make([]byte, bulk))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		Subject:         pkix.Name{CommonName: "torture"},
		DNSNames:        []string{serverName},
		NotBefore:       time.Date(1999, time.December, 31, 0, 0, 0, 0, time.UTC), // testing/synctest begins in 2000
		NotAfter:        time.Date(2099, time.December, 31, 0, 0, 0, 0, time.UTC),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: filling}}, // RFC 5612
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// configs returns new configs for one run. crypto/tls takes the first certificate that the client can verify. The client asks for tickets, as most clients do: crypto/tls asks only if it
// has a ClientSessionCache.
func (id *identity) configs() (server, client *tls.Config) {
	server = &tls.Config{
		Certificates: []tls.Certificate{id.server, id.ecdsa},
		MinVersion:   tls.VersionTLS13,
	}
	client = &tls.Config{
		RootCAs:            id.roots,
		ServerName:         serverName,
		Certificates:       []tls.Certificate{id.client},
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
		MinVersion:         tls.VersionTLS13,
	}
	return server, client
}
