package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	utls "github.com/refraction-networking/utls"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/utlspeer"
)

// DefaultFingerprint is crypto/tls itself.
const DefaultFingerprint = "go"

// Fingerprints are the clients that a probe can look like. All but the first are utls's imitations.
func Fingerprints() []string {
	names := []string{DefaultFingerprint}
	for _, family := range utlspeer.Families() {
		if family.ID != utls.HelloGolang {
			names = append(names, family.Name)
		}
	}
	return names
}

func known(kind, name string, names []string) error {
	if slices.Contains(names, name) {
		return nil
	}
	return &OptionError{fmt.Sprintf("unknown %s %q", kind, name), "choose from " + strings.Join(names, ", ")}
}

// A handshake is what one left behind.
type handshake struct {
	TLSReport
	version uint16
	suite   uint16
	keys    keyLog
}

// epoch begins the protection of one direction.
func (h *handshake) epoch(label string) (*ticketdefer.Epoch, error) {
	secret, err := h.keys.secret(label)
	if err != nil {
		return nil, err
	}
	return ticketdefer.NewEpoch(h.suite, secret)
}

// shake runs a handshake that looks as the options say.
func shake(ctx context.Context, t *transport, o *Options) (*handshake, error) {
	h := new(handshake)
	if o.Fingerprint == DefaultFingerprint {
		config := o.goConfig()
		config.KeyLogWriter = &h.keys
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // without one crypto/tls asks for no tickets
		conn := tls.Client(t, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		state := conn.ConnectionState()
		h.version, h.suite, h.ALPN = state.Version, state.CipherSuite, state.NegotiatedProtocol
	} else {
		conn, err := o.imitate(t, &h.keys)
		if err != nil {
			return nil, err
		}
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		state := conn.ConnectionState()
		h.version, h.suite, h.ALPN = state.Version, state.CipherSuite, state.NegotiatedProtocol
	}
	h.Version, h.CipherSuite, h.Verified = tls.VersionName(h.version), tls.CipherSuiteName(h.suite), !o.Insecure
	return h, nil
}

func (o *Options) goConfig() *tls.Config {
	config := &tls.Config{
		RootCAs:            o.Roots,
		ServerName:         o.ServerName,
		NextProtos:         o.ALPN,
		InsecureSkipVerify: o.Insecure,
	}
	if o.Certificate != nil {
		config.Certificates = []tls.Certificate{*o.Certificate}
	}
	return config
}

// imitate makes a browser's end. Its list of protocols is replaced by ours: a browser's has HTTP/2, whose servers write
// unasked, which is another matter.
func (o *Options) imitate(t *transport, keys *keyLog) (*utls.UConn, error) {
	families := utlspeer.Families()
	id := families[slices.IndexFunc(families, func(f utlspeer.Family) bool { return f.Name == o.Fingerprint })].ID
	config := &utls.Config{
		RootCAs:            o.Roots,
		ServerName:         o.ServerName,
		NextProtos:         o.ALPN,
		InsecureSkipVerify: o.Insecure,
		OmitEmptyPsk:       true, // there is nothing to resume
		KeyLogWriter:       keys,
	}
	if c := o.Certificate; c != nil {
		config.Certificates = []utls.Certificate{{Certificate: c.Certificate, PrivateKey: c.PrivateKey}}
	}
	if id.Client == utls.HelloRandomized.Client {
		return utls.UClient(t, config, id), nil
	}
	spec, err := utls.UTLSIdToSpec(id)
	if err != nil {
		return nil, err
	}
	spec.Extensions = slices.DeleteFunc(spec.Extensions, func(e utls.TLSExtension) bool {
		if alpn, ok := e.(*utls.ALPNExtension); ok {
			alpn.AlpnProtocols = o.ALPN
			return len(o.ALPN) == 0
		}
		return false
	})
	conn := utls.UClient(t, config, utls.HelloCustom)
	return conn, conn.ApplyPreset(&spec)
}

// A keyLog keeps what crypto/tls writes to a KeyLogWriter during one handshake.
type keyLog struct{ bytes.Buffer }

// secret returns the secret with the given label.
func (l *keyLog) secret(label string) ([]byte, error) {
	for line := range strings.Lines(l.String()) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == label {
			return hex.DecodeString(fields[2])
		}
	}
	return nil, fmt.Errorf("crypto/tls logged no %s", label)
}
