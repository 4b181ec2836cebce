// Package cert gives the subcommands that accept TLS their certificate: from
// files, which are read again when they change, or a self-signed one that lives
// in memory and is known by its fingerprint.
//
//	source, err := flags.Open(log, "127.0.0.1")
//	...
//	config := &tls.Config{GetCertificate: source.GetCertificate}
//	fmt.Println(source.Fingerprint())
package cert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"
)

// A Source has the certificate that is due now. Its methods may be called
// concurrently.
type Source struct {
	current func() *tls.Certificate
	// SelfSigned is set if nobody but the holder of the fingerprint can trust
	// the certificate.
	SelfSigned bool
}

// GetCertificate is for the field of tls.Config. crypto/tls asks it only if the
// Config has no Certificates.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current(), nil
}

// Leaf returns the certificate itself, without its chain.
func (s *Source) Leaf() *x509.Certificate { return s.current().Leaf }

// Fingerprint returns the SHA-256 of the certificate as "openssl x509
// -fingerprint -sha256" prints it.
func (s *Source) Fingerprint() string {
	sum := sha256.Sum256(s.Leaf().Raw)
	var b strings.Builder
	for i, octet := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", octet)
	}
	return b.String()
}

// Pin returns the SHA-256 of the public key as curl's --pinnedpubkey takes it.
func (s *Source) Pin() string {
	sum := sha256.Sum256(s.Leaf().RawSubjectPublicKeyInfo)
	return "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
}

// PEM returns the certificate for a client's file of trusted ones.
func (s *Source) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Leaf().Raw})
}

// Flags are --cert and --key.
type Flags struct{ Cert, Key string }

// Register adds the flags to a command's.
func (f *Flags) Register(set *pflag.FlagSet) {
	set.StringVar(&f.Cert, "cert", "", "PEM file of the certificate and its chain, read again when it changes (default self-signed, in memory)")
	set.StringVar(&f.Key, "key", "", "PEM file of the certificate's key (default the file of --cert)")
}

// Open makes the source that the flags ask for. hosts are the names and
// addresses of a self-signed certificate besides those of this machine. log is
// told of reloads.
func (f *Flags) Open(log *slog.Logger, hosts ...string) (*Source, error) {
	switch {
	case f.Cert == "" && f.Key == "":
		return SelfSigned(hosts...)
	case f.Cert == "":
		return nil, errors.New("--key without --cert")
	case f.Key == "":
		return Load(f.Cert, f.Cert, log)
	}
	return Load(f.Cert, f.Key, log)
}
