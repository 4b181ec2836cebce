// Package tlstest makes certificate authorities, certificates and TLS configs for tests, as net/http/httptest makes
// servers.
//
// A [CA] lives in memory, is made anew for each test that wants one, and costs less than a millisecond:
//
//	ca := tlstest.NewCA()
//	ln, err := tls.Listen("tcp", "127.0.0.1:0", ca.ServerConfig())
//	...
//	c, err := tls.Dial("tcp", ln.Addr().String(), ca.ClientConfig())
//
// [CA.WriteFiles] and [WriteCertificate] write PEM files for programs that are not written in Go.
//
// The package does not import testing, so a program that is not a test may link it. Making a key or a certificate
// fails only if the program asks for something that X.509 cannot say, or if the system has no randomness; neither is
// worth a branch in a caller, so these functions panic.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"time"
)

// A CA is a certificate authority for tests. Its methods may be called from several goroutines at once.
type CA struct {
	// Cert is the self-signed root.
	Cert *x509.Certificate

	key *ecdsa.PrivateKey
}

// NewCA returns a new authority with an ECDSA P-256 key.
//
// What it signs is valid until 24 hours from now, and has been since 1999, so that a testing/synctest bubble, whose
// clock starts on 1 January 2000, can use an authority made outside of it.
func NewCA() *CA {
	key := newKey()
	template := newTemplate("tlstest CA")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return &CA{Cert: sign(template, template, &key.PublicKey, key), key: key}
}

// Server returns a certificate for a server with the given DNS names and IP addresses; without any, for localhost,
// 127.0.0.1 and ::1.
func (ca *CA) Server(names ...string) tls.Certificate {
	if len(names) == 0 {
		names = []string{"localhost", "127.0.0.1", "::1"}
	}
	template := newTemplate(names[0])
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return ca.issue(template)
}

// Client returns a certificate for a client.
func (ca *CA) Client(name string) tls.Certificate {
	return ca.issue(clientTemplate(name))
}

// BigClient returns a certificate for a client that is size bytes long, within a few. A crypto/tls server puts the
// client's certificates into its tickets, so this is also about the size of the ticket; such a server cannot make one
// of more than 65,535 bytes, and fails the handshake instead. OpenSSL accepts certificates of up to 100 KiB unless
// told otherwise.
//
// The bulk is a private extension of the leaf. An intermediate would appear twice in a ticket whose server verifies
// clients: once as sent, once in the verified chain.
func (ca *CA) BigClient(name string, size int) tls.Certificate {
	template := clientTemplate(name)
	bulk := func(n int) []pkix.Extension {
		value, err := asn1.Marshal(make([]byte, n))
		must(err)
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: value}} // RFC 5612
	}
	template.ExtraExtensions = bulk(size)
	over := len(ca.issue(template).Certificate[0]) - size
	template.ExtraExtensions = bulk(max(0, size-over))
	return ca.issue(template)
}

// Pool returns a new pool that holds the root alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// ServerConfig returns a new config with a certificate from [CA.Server] and nothing else.
func (ca *CA) ServerConfig() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{ca.Server()}}
}

// ClientConfig returns a new config that trusts the authority and expects a server named localhost. It has no
// ClientSessionCache: a crypto/tls client asks for tickets only if it has one.
func (ca *CA) ClientConfig() *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}
}

func (ca *CA) issue(template *x509.Certificate) tls.Certificate {
	key := newKey()
	leaf := sign(template, ca.Cert, &key.PublicKey, ca.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func clientTemplate(name string) *x509.Certificate {
	template := newTemplate(name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return template
}

func newTemplate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	must(err)
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(1999, time.December, 31, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func sign(template, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	return cert
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("tlstest: %v", err))
	}
}
