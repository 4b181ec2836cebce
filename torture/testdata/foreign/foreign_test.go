// Package foreign shows how somebody else's module puts its TLS stack under package torture.
package foreign

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/torture"
)

// TestTicketsOff is the usual advice against lost uploads: send no tickets. It helps against tickets, and not against
// KeyUpdate, which crypto/tls answers out of turn.
func TestTicketsOff(t *testing.T) {
	torture.TestStack(t, torture.Stack{
		Name: "tickets-off",
		Server: func(conn net.Conn, config *tls.Config) torture.Conn {
			config = config.Clone()
			config.SessionTicketsDisabled = true
			return tls.Server(conn, config)
		},
	})
}

// TestDeferred is crypto/tls over a transport that lets it write only when the application does.
func TestDeferred(t *testing.T) {
	torture.TestStack(t, torture.Stack{
		Name: "deferred",
		Server: func(conn net.Conn, config *tls.Config) torture.Conn {
			return tls.Server(ticketdefer.WrapConn(conn), ticketdefer.WrapConfig(config))
		},
	})
}
