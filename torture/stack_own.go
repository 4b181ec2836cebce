package torture

import (
	"crypto/tls"
	"net"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// TlsstreamOwn returns the stack of [Tlsstream] with tlsstream.Options.OwnRecords: crypto/tls
// does the handshake, and the records are sealed and opened by the package itself.
func TlsstreamOwn() Stack {
	o := &tlsstream.Options{OwnRecords: true}
	return Stack{
		Name:   "tlsstream-own",
		Server: func(conn net.Conn, config *tls.Config) Conn { return o.Server(conn, config) },
		Client: func(conn net.Conn, config *tls.Config) Conn { return o.Client(conn, config) },
	}
}
