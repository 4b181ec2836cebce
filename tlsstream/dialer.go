package tlsstream

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A Dialer makes deferred TLS connections. The zero value works. It may be used
// concurrently.
type Dialer struct {
	// NetDialer makes the connections beneath. If nil, a zero net.Dialer.
	NetDialer interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	}

	// Config is as for tls.Dialer. If nil, the zero tls.Config. If its
	// ServerName is empty, the host of the address dialled.
	Config *tls.Config

	// Options are for DialStream; DialContext uses Trace alone.
	Options Options
}

// Dial connects to addr and runs the handshake, as tls.Dial does.
func Dial(network, addr string, config *tls.Config) (*Conn, error) {
	return (&Dialer{Config: config}).DialStream(context.Background(), network, addr)
}

// DialContext connects to addr and runs the handshake. The connection is a
// *tls.Conn, so http.Transport.DialTLSContext keeps HTTP/2; the deferral is in a
// ticketdefer.Conn beneath it. ctx ends the attempt, and has no effect once
// DialContext has returned. Errors are those of crypto/tls, and of the
// Options only Trace has a part. For HTTP/2, http.Transport needs ForceAttemptHTTP2 if Config's NextProtos
// have "h2", and the other way round.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, config, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	deferred := ticketdefer.WrapConn(conn)
	c := tls.Client(deferred, ticketdefer.BindConfig(config, deferred))
	observer := d.Options.Trace.observe(deferred, c)
	if err := c.HandshakeContext(ctx); err != nil {
		noteAlertOf(observer, err)
		conn.Close()
		return nil, err
	}
	return c, nil
}

// DialStream is as DialContext and returns a Conn. If the handshake fails, the
// error is a *HandshakeError.
func (d *Dialer) DialStream(ctx context.Context, network, addr string) (*Conn, error) {
	if err := d.Options.check(); err != nil {
		return nil, err
	}
	conn, config, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := d.Options.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// dial makes the connection beneath, and the configuration for it.
func (d *Dialer) dial(ctx context.Context, network, addr string) (net.Conn, *tls.Config, error) {
	config := d.Config
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr // NetDialer knows what addr means
		}
		config = config.Clone()
		config.ServerName = host
	}
	netDialer := d.NetDialer
	if netDialer == nil {
		netDialer = &net.Dialer{}
	}
	conn, err := netDialer.DialContext(ctx, network, addr)
	return conn, config, err
}
