package proxy

import (
	"crypto/tls"
	"net"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// unverified is any value but 0, which in a PROXY header says that the client's
// certificate was verified.
const unverified = 1

// proxyHeader returns the PROXY protocol version 2 header for a connection from
// client that was accepted at local. state is of the client's TLS, or nil if it
// speaks none.
func proxyHeader(client, local net.Addr, state *tls.ConnectionState) ([]byte, error) {
	h := proxyproto.HeaderProxyFromAddrs(2, client, local)
	if state != nil {
		tlvs, err := tlsTLVs(state)
		if err != nil {
			return nil, err
		}
		if err := h.SetTLVs(tlvs); err != nil {
			return nil, err
		}
	}
	return h.Format()
}

func tlsTLVs(state *tls.ConnectionState) ([]proxyproto.TLV, error) {
	var tlvs []proxyproto.TLV
	add := func(list *[]proxyproto.TLV, kind proxyproto.PP2Type, value string) {
		if value != "" {
			*list = append(*list, proxyproto.TLV{Type: kind, Value: []byte(value)})
		}
	}
	add(&tlvs, proxyproto.PP2_TYPE_ALPN, state.NegotiatedProtocol)
	add(&tlvs, proxyproto.PP2_TYPE_AUTHORITY, state.ServerName)

	ssl := tlvparse.PP2SSL{Client: tlvparse.PP2_BITFIELD_CLIENT_SSL, Verify: unverified}
	// As OpenSSL writes it, and so HAProxy: TLSv1.3.
	versions := map[uint16]string{tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}
	add(&ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_VERSION, versions[state.Version])
	add(&ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_CIPHER, tls.CipherSuiteName(state.CipherSuite))
	if len(state.PeerCertificates) > 0 {
		ssl.Client |= tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS
		if !state.DidResume {
			ssl.Client |= tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN
		}
		ssl.Verify = 0 // or its handshake would have failed
		add(&ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_CN, state.PeerCertificates[0].Subject.CommonName)
	}
	tlv, err := ssl.Marshal()
	return append(tlvs, tlv), err
}
