package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/cert"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// sessions is how many backends' tickets are kept for resumption.
const sessions = 64

// tlsConfig returns the configuration of this program's side of TLS, and its
// certificate, if it shows one.
func (flags *proxyFlags) tlsConfig(log *slog.Logger) (*tls.Config, *cert.Source, error) {
	config := &tls.Config{}
	var pins []tlsstream.Pin
	for _, text := range flags.pins {
		pin, err := parsePin(text)
		if err != nil {
			return nil, nil, &usageError{fmt.Sprintf("--pin %q is not a pin", text), "want sha256/ and 44 characters of base64: the SHA-256 of the public key"}
		}
		pins = append(pins, pin)
	}
	if len(pins) > 0 {
		config = tlsstream.PinPeers(pins...)
	}
	if flags.originate {
		return flags.clientConfig(config, log)
	}
	if flags.clientCA != "" {
		pool, err := readPool("--client-ca", flags.clientCA)
		if err != nil {
			return nil, nil, err
		}
		config.ClientCAs, config.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	host, _, _ := net.SplitHostPort(flags.listen)
	source, err := flags.openCert(log, host)
	if err != nil {
		return nil, nil, err
	}
	config.GetCertificate = source.GetCertificate
	return config, source, nil
}

func (flags *proxyFlags) clientConfig(config *tls.Config, log *slog.Logger) (*tls.Config, *cert.Source, error) {
	config.ServerName = flags.serverName
	config.NextProtos = flags.alpn
	config.ClientSessionCache = tls.NewLRUClientSessionCache(sessions)
	if flags.ca != "" {
		pool, err := readPool("--ca", flags.ca)
		if err != nil {
			return nil, nil, err
		}
		config.RootCAs = pool
	}
	if flags.cert == (cert.Flags{}) {
		return config, nil, nil
	}
	source, err := flags.openCert(log)
	if err != nil {
		return nil, nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return source.GetCertificate(nil)
	}
	return config, source, nil
}

func (flags *proxyFlags) openCert(log *slog.Logger, hosts ...string) (*cert.Source, error) {
	source, err := flags.cert.Open(log, hosts...)
	if err != nil {
		return nil, &usageError{err.Error(), "--cert wants a PEM file of the certificate and its chain, and --key one of its private key"}
	}
	return source, nil
}

// parsePin also takes a pin as curl writes it, with a second slash.
func parsePin(text string) (tlsstream.Pin, error) {
	const curls, digits = "sha256//", 44
	if rest, ok := strings.CutPrefix(text, curls); ok && len(rest) == digits {
		text = "sha256/" + rest
	}
	return tlsstream.ParsePin(text)
}
