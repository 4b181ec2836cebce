package bench

import (
	"crypto/tls"
	"net"
	"slices"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A Conn is a TLS stream as its application sees it. *tls.Conn is one.
type Conn interface {
	net.Conn
	Handshake() error
	ConnectionState() tls.ConnectionState
}

// A Stack is a TLS implementation, given as two makers. Neither does any I/O.
type Stack struct {
	Name, About    string
	Client, Server func(conn net.Conn, config *tls.Config) Conn

	// build makes a program of its own in a folder and returns its command line, for a stack that is not of this
	// program. It speaks what wire.go describes, and can play the given kinds.
	build func(dir string) ([]string, error)
	kinds []kind
}

// Plays reports whether the stack can play a scenario. No stack plays one that is for terminators.
func (s *Stack) Plays(scenario *Scenario) bool {
	return !scenario.Terminated && (s.build == nil || !scenario.growth && slices.Contains(s.kinds, scenario.kind))
}

// Stdlib returns stock crypto/tls, which everything is compared with.
func Stdlib() Stack {
	return Stack{
		Name:   "stdlib",
		About:  "crypto/tls alone: what the others are compared with",
		Client: func(conn net.Conn, config *tls.Config) Conn { return tls.Client(conn, config) },
		Server: func(conn net.Conn, config *tls.Config) Conn { return tls.Server(conn, config) },
	}
}

// Stacks returns the stacks built in that are compared with [Stdlib].
func Stacks() []Stack {
	return []Stack{
		stream("tlsstream", "tlsstream.Conn", tlsstream.Options{}),
		stream("tlsstream-own", "tlsstream.Conn with Options.OwnRecords", tlsstream.Options{OwnRecords: true}),
		stream("tlsstream-writebehind", "tlsstream.Conn with Options.WriteBehind of 256 KiB", tlsstream.Options{WriteBehind: 256 << 10}),
		listener(),
		openssl(),
	}
}

// stream is tlsstream.Conn with options.
func stream(name, about string, options tlsstream.Options) Stack {
	return Stack{
		Name:   name,
		About:  about,
		Client: func(conn net.Conn, config *tls.Config) Conn { return options.Client(conn, config) },
		Server: func(conn net.Conn, config *tls.Config) Conn { return options.Server(conn, config) },
	}
}

// listener is a *tls.Conn over a transport that defers, made as tlsstream.Listener and tlsstream.Dialer make it.
func listener() Stack {
	return Stack{
		Name:  "tlsstream-listener",
		About: "*tls.Conn, as tlsstream.Listener accepts it and tlsstream.Dialer dials it",
		Client: func(conn net.Conn, config *tls.Config) Conn {
			deferred := ticketdefer.WrapConn(conn)
			return tls.Client(deferred, ticketdefer.BindConfig(config, deferred))
		},
		Server: func(conn net.Conn, config *tls.Config) Conn {
			accepted, err := tlsstream.NewListener(one{conn: conn}, config).Accept()
			if err != nil {
				panic(err) // only one could have failed
			}
			return accepted.(*tls.Conn)
		},
	}
}

// plain is TCP, for a server behind a terminator.
func plain() Stack {
	return Stack{
		Name:   "plain",
		Server: func(conn net.Conn, _ *tls.Config) Conn { return plainConn{conn} },
	}
}

type plainConn struct{ net.Conn }

func (plainConn) Handshake() error                     { return nil }
func (plainConn) ConnectionState() tls.ConnectionState { return tls.ConnectionState{} }

// one is a listener that accepts a conn that is there already.
type one struct {
	net.Listener
	conn net.Conn
}

func (l one) Accept() (net.Conn, error) { return l.conn, nil }
