package torture

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// bigCertificate makes a ticket of about as many bytes: more than the buffers of the networks that scenario
// huge-ticket runs on, less than the 65,535 that crypto/tls can put into one.
const bigCertificate = 56_000

const serverName = "torture.invalid"

// An identity holds the certificates of a plan. They follow from its seed, and an Ed25519 signature has always the same
// length, so the flights of the same run have, too: where a flight ends decides about a deadlock. (An ECDSA signature
// has 70 to 72 bytes.)
type identity struct {
	roots                  *x509.CertPool
	server, client, bigOne tls.Certificate
}

func newIdentity(seed uint64) (*identity, error) {
	id := &identity{roots: x509.NewCertPool()}
	for _, c := range []struct {
		use  string
		bulk int
		cert *tls.Certificate
	}{{"server", 0, &id.server}, {"client", 0, &id.client}, {"big client", bigCertificate, &id.bigOne}} {
		key := streamSeed(seed, c.use)
		cert, err := selfSigned(ed25519.NewKeyFromSeed(key[:]), c.bulk)
		if err != nil {
			return nil, fmt.Errorf("torture: no %s certificate: %w", c.use, err)
		}
		*c.cert = cert
	}
	id.roots.AddCert(id.server.Leaf)
	return id, nil
}

// selfSigned returns a certificate with a private extension of bulk bytes.
func selfSigned(key ed25519.PrivateKey, bulk int) (tls.Certificate, error) {
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
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// configs returns new configs for one run. The client asks for tickets, as most clients do: crypto/tls asks only if it
// has a ClientSessionCache.
func (id *identity) configs() (server, client *tls.Config) {
	server = &tls.Config{
		Certificates: []tls.Certificate{id.server},
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
