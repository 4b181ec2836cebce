package proxy

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// A Config says what a Server does. All fields must be set that do not say
// otherwise.
type Config struct {
	// Originate makes the server accept plain connections and carry them to a
	// backend that speaks TLS. If false, it accepts TLS, and the backend is plain.
	Originate bool

	// TLS is a server's configuration, or, to originate, a client's.
	TLS *tls.Config

	// To is the backend's host and port. It may be empty if there are Routes.
	To string

	// Routes choose a backend by the ALPN protocol, in the order of preference. A
	// TLS peer that offers protocols must offer one of them; one that offers none
	// is for To. They may be empty, and are when originating.
	Routes []Route

	// AllowedNames, if not empty, lists who is let in of those whose certificate
	// is valid: see [Allowed].
	AllowedNames []string

	// ProxyHeader sends a PROXY protocol version 2 header to the backend,
	// before anything else.
	ProxyHeader bool

	// End says when the plain side's end crosses, and Quiet how long a quiet
	// moment is.
	End   EndRule
	Quiet time.Duration

	// MaxConnections bounds the connections that are carried, or in their
	// handshake. More wait in the kernel's queue.
	MaxConnections int

	// SocketBuffer is the size in bytes of each of the kernel's buffers, two for each
	// of a connection's two sockets. If zero, the system sizes them, by what it
	// has and how fast the peer is.
	SocketBuffer int

	// IdleTimeout is how long nothing may move on a connection in either
	// direction, HandshakeTimeout how long a TLS handshake may take in all, and
	// DialTimeout how long the backend may take to answer.
	IdleTimeout      time.Duration
	HandshakeTimeout time.Duration
	DialTimeout      time.Duration

	Log     *slog.Logger
	Metrics *Metrics
}

// A Route is the backend for an ALPN protocol.
type Route struct{ Protocol, To string }

// tlsConfig is c.TLS with what the other fields ask of TLS.
func (c *Config) tlsConfig() *tls.Config {
	config := c.TLS.Clone()
	for _, r := range c.Routes {
		config.NextProtos = append(config.NextProtos, r.Protocol)
	}
	return config
}

// backend returns where a connection with that ALPN protocol goes, or "".
func (c *Config) backend(protocol string) string {
	for _, r := range c.Routes {
		if r.Protocol == protocol {
			return r.To
		}
	}
	return c.To
}
