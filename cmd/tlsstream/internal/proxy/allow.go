package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// Allowed returns an error unless the peer's certificate, which is valid, has one of
// names: as a DNS name, e-mail address, IP address or URI, or, if it has none of
// these, as its common name.
func Allowed(state tls.ConnectionState, names []string) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("the peer has shown no certificate")
	}
	has := namesOf(state.PeerCertificates[0])
	for _, name := range has {
		if slices.ContainsFunc(names, func(allowed string) bool { return strings.EqualFold(allowed, name) }) {
			return nil
		}
	}
	return fmt.Errorf("the peer's certificate is valid, but for %q, which is not on the list", has)
}

func namesOf(cert *x509.Certificate) []string {
	names := slices.Concat(cert.DNSNames, cert.EmailAddresses)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	if len(names) == 0 && cert.Subject.CommonName != "" {
		names = []string{cert.Subject.CommonName}
	}
	return names
}
