package tlsstream

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// A Pin names a public key: the SHA-256 of its SubjectPublicKeyInfo (as in RFC
// 7469 2.4).
type Pin [sha256.Size]byte

const pinPrefix = "sha256/"

// PinOf returns the pin of a public key of a type that crypto/x509 knows.
func PinOf(public crypto.PublicKey) (Pin, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Pin{}, fmt.Errorf("tlsstream: pin: %w", err)
	}
	return sha256.Sum256(der), nil
}

// ParsePin reads what String returns.
func ParsePin(s string) (Pin, error) {
	text, ok := strings.CutPrefix(s, pinPrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if ok && err == nil && len(b) == len(Pin{}) {
		// The decoder takes line ends, and bits that do not count.
		if p := Pin(b); p.String() == s {
			return p, nil
		}
	}
	return Pin{}, fmt.Errorf("tlsstream: %q is not a pin: want %s and 44 characters of base64", s, pinPrefix)
}

// String returns the pin as curl's --pinnedpubkey writes it, with one slash.
func (p Pin) String() string { return pinPrefix + base64.StdEncoding.EncodeToString(p[:]) }

// pinnedLifetime is how long a PinnedIdentity's certificate says it is valid. Its
// peers look at the key alone; the dates are for programs that look at them.
const pinnedLifetime = 10 * 365 * 24 * time.Hour

// PinnedIdentity makes a certificate for key, to be known by its public key alone:
// see [PinPeers]. It is signed by itself and names nobody.
func PinnedIdentity(key crypto.Signer) (tls.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(pinnedLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tlsstream: pinned identity: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// PinPeers returns a configuration, for either side, that knows its peers by
// their public keys: whoever proves to have the key of one of pins is accepted,
// whatever its certificate says, and nobody else. Add Certificates. It panics
// without pins.
//
// A peer that is refused gets the alert bad_certificate. The *AlertError that this
// package makes of it says "your key is not on the server's list", or the client's.
func PinPeers(pins ...Pin) *tls.Config {
	if len(pins) == 0 {
		panic("tlsstream: PinPeers without pins would accept nobody")
	}
	pins = slices.Clone(pins)
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAnyClientCert,
		// crypto/tls still checks that the peer has its certificate's
		// private key; VerifyConnection does the rest, on resumption too.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errors.New("tlsstream: the peer has shown no certificate")
			}
			pin := Pin(sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo))
			if !slices.Contains(pins, pin) {
				return fmt.Errorf("tlsstream: the peer's key %v is not on this side's list", pin)
			}
			return nil
		},
	}
}
