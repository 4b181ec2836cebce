package probe

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"
)

// Options say what to probe, and how. Address is required; else the zero value works.
type Options struct {
	// Address is HOST:PORT.
	Address string
	// ServerName is sent (SNI) and the certificate verified for it. If empty, the host of Address.
	ServerName string
	// StartTLS names the protocol whose preamble asks for TLS. If empty, TLS begins at once.
	StartTLS string
	// Fingerprint is the client to look like; see Fingerprints. If empty, DefaultFingerprint.
	Fingerprint string
	// ALPN is the protocols to offer. If nil, http/1.1 without StartTLS and none with it.
	ALPN []string
	// Roots are whom to trust. If nil, the system's.
	Roots *x509.CertPool
	// Insecure accepts any certificate.
	Insecure bool
	// Certificate is the client's, for servers that ask. It may be nil.
	Certificate *tls.Certificate
	// Send is the first application data. If nil, a request of the protocol: HTTP/1.1 without StartTLS.
	Send []byte
	// Wait is how long the server may be silent before the probe goes on. If zero, DefaultWait. Four times what
	// connecting took is the least.
	Wait time.Duration
	// Timeout bounds the whole probe. If zero, DefaultTimeout.
	Timeout time.Duration
}

const (
	// DefaultWait covers a server that computes a little, or asks another one, before it sends a ticket.
	DefaultWait = 500 * time.Millisecond
	// DefaultTimeout leaves room for about ten waits, and for a slow line.
	DefaultTimeout = 20 * time.Second
)

// An OptionError is an option that cannot be used.
type OptionError struct{ Problem, Hint string }

func (e *OptionError) Error() string { return e.Problem }

// complete checks the options and fills in what was left out.
func (o *Options) complete() error {
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil || host == "" || port == "" {
		return &OptionError{fmt.Sprintf("%q is no address", o.Address), "give HOST:PORT, such as ftp.example.org:21"}
	}
	if o.ServerName == "" {
		o.ServerName = host
	}
	if o.Fingerprint == "" {
		o.Fingerprint = DefaultFingerprint
	}
	if err := known("fingerprint", o.Fingerprint, Fingerprints()); err != nil {
		return err
	}
	if o.StartTLS != "" {
		if err := known("--starttls protocol", o.StartTLS, StartTLSProtocols()); err != nil {
			return err
		}
	} else if o.ALPN == nil {
		o.ALPN = []string{"http/1.1"}
	}
	if o.Wait == 0 {
		o.Wait = DefaultWait
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Wait < 0 || o.Timeout < 0 {
		return &OptionError{"a time is negative", "choose one such as 500ms or 20s"}
	}
	if o.Send == nil {
		o.Send = firstBytes(o.StartTLS, o.ServerName, port)
	}
	return nil
}
