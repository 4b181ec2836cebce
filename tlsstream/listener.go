package tlsstream

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A Listener accepts TLS connections that are deferred.
type Listener struct {
	net.Listener
	config  *tls.Config
	options Options
}

// NewListener returns a Listener over inner. config is as for tls.NewListener;
// it is looked at for each connection, so its session ticket keys may be changed
// at any time. If it has no certificates, handshakes fail.
func NewListener(inner net.Listener, config *tls.Config) *Listener {
	return (&Options{}).NewListener(inner, config)
}

// Listen returns a Listener on a local address, as tls.Listen does.
func Listen(network, laddr string, config *tls.Config) (*Listener, error) {
	return (&Options{}).Listen(network, laddr, config)
}

// NewListener is the function NewListener with options. It panics if they are
// invalid.
func (o *Options) NewListener(inner net.Listener, config *tls.Config) *Listener {
	if err := o.check(); err != nil {
		panic(err)
	}
	return &Listener{inner, config, *o}
}

// Listen is the function Listen with options.
func (o *Options) Listen(network, laddr string, config *tls.Config) (*Listener, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	// The condition of tls.Listen.
	if config == nil || len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
		return nil, errors.New("tlsstream: Listen: neither Certificates, GetCertificate, nor GetConfigForClient set in Config")
	}
	l, err := net.Listen(network, laddr)
	if err != nil {
		return nil, err
	}
	return o.NewListener(l, config), nil
}

// Accept waits for a connection and returns it as a *tls.Conn, like the listener
// of crypto/tls: servers that ask for that type, such as net/http for HTTP/2,
// work (which wants "h2" in the Config's NextProtos, as with any tls.Listener). The deferral is in a ticketdefer.Conn beneath it. The handshake has not
// been run.
//
// On this path crypto/tls does the I/O, with its own rules: a Write that times
// out is final, a Read that answers a KeyUpdate waits for a Write in progress,
// and io.EOF may mean truncation. No options apply but Trace: after a failed handshake Close
// gives the client 2 seconds to see the alert, in the background.
// [Listener.AcceptStream] has none of these.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	deferred := ticketdefer.WrapConn(conn)
	c := tls.Server(deferred, ticketdefer.BindConfig(l.config, deferred))
	l.options.Trace.observe(deferred, c)
	return c, nil
}

// AcceptStream waits for a connection and returns it as a Conn. The handshake
// has not been run.
func (l *Listener) AcceptStream() (*Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.options.Server(conn, l.config), nil
}
