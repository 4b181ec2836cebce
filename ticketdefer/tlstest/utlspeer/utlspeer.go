// Package utlspeer makes utls clients for tests and for package torture: TLS clients that look like a browser.
package utlspeer

import (
	"crypto/tls"
	"net"

	utls "github.com/refraction-networking/utls"
)

// A Family is a kind of client that utls imitates.
type Family struct {
	Name string
	ID   utls.ClientHelloID
}

// Families returns those that offer TLS 1.3. Not among them are Android, of which utls knows only version 11, with TLS
// 1.2, and the versions of Edge and 360 that utls calls Auto: of 360 that one offers TLS 1.2, and both are old.
func Families() []Family {
	return []Family{
		{"chrome", utls.HelloChrome_Auto},
		{"firefox", utls.HelloFirefox_Auto},
		{"safari", utls.HelloSafari_Auto},
		{"ios", utls.HelloIOS_Auto},
		{"edge", utls.HelloEdge_106},
		{"360", utls.Hello360_11_0},
		{"qq", utls.HelloQQ_Auto},
		{"golang", utls.HelloGolang},
		{"randomized", randomized()},
	}
}

// randomized is always the same: the seed is one of those with which utls can finish the handshake. With about two in
// five it cannot, since it offers a curve that it does not have.
func randomized() utls.ClientHelloID {
	id := utls.HelloRandomized
	id.Seed = new(utls.PRNGSeed)
	weights := utls.DefaultWeights
	weights.TLSVersMax_Set_VersionTLS13 = 1
	id.Weights = &weights
	return id
}

// Client returns the client's end of a TLS stream over conn. It takes the names, certificates, versions and the
// KeyLogWriter from config, and has a session cache of its own if config has one.
func Client(conn net.Conn, config *tls.Config, id utls.ClientHelloID) *utls.UConn {
	c := &utls.Config{
		RootCAs:      config.RootCAs,
		ServerName:   config.ServerName,
		Time:         config.Time,
		MinVersion:   config.MinVersion,
		MaxVersion:   config.MaxVersion,
		OmitEmptyPsk: true, // there is nothing to resume
		KeyLogWriter: config.KeyLogWriter,
	}
	for _, cert := range config.Certificates {
		c.Certificates = append(c.Certificates, utls.Certificate{Certificate: cert.Certificate, PrivateKey: cert.PrivateKey})
	}
	if config.ClientSessionCache != nil {
		c.ClientSessionCache = utls.NewLRUClientSessionCache(1)
	}
	return utls.UClient(conn, c, id)
}
