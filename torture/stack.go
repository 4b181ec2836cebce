package torture

import (
	"crypto/tls"
	"net"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A Conn is a TLS stream as its application sees it. *tls.Conn is one.
type Conn interface {
	net.Conn

	// Handshake runs the handshake if it has not run yet.
	Handshake() error
}

// A Stack is a TLS implementation, given as two makers.
type Stack struct {
	// Name stands in reports.
	Name string

	// Server makes the server's end of a TLS stream over conn. It does no I/O: Handshake does.
	Server func(conn net.Conn, config *tls.Config) Conn

	// Client makes the client's end. Only scenarios in which both ends are under test call it; in the others the
	// client is crypto/tls or a scripted peer, for it stands for anybody's client. If nil, crypto/tls is the client
	// everywhere.
	Client func(conn net.Conn, config *tls.Config) Conn

	// Except names the scenarios that the stack does not promise to pass. They are not run.
	Except []string

	// clientMayLose says that what Client writes may be lost if it never reads and its peer sends tickets: it is not
	// the stack's own, or its Close does not drain. The Close of a *tls.Conn does not, whatever it runs over.
	clientMayLose bool

	// single says that a stream has no goroutines and no locks, so both ends can run on one goroutine.
	single bool
}

// Stdlib returns stock crypto/tls, which fails every scenario: the control.
func Stdlib() Stack {
	return Stack{
		Name:   "stdlib",
		Server: func(conn net.Conn, config *tls.Config) Conn { return tls.Server(conn, config) },
		Client: func(conn net.Conn, config *tls.Config) Conn { return tls.Client(conn, config) },
	}
}

// Tlsstream returns the stack of package tlsstream, whose Conn never lets crypto/tls touch the transport.
func Tlsstream() Stack {
	return Stack{
		Name:   "tlsstream",
		Server: func(conn net.Conn, config *tls.Config) Conn { return tlsstream.Server(conn, config) },
		Client: func(conn net.Conn, config *tls.Config) Conn { return tlsstream.Client(conn, config) },
	}
}

// TlsstreamWriteBehind returns the same stack with Options.WriteBehind: what an application has written when it closes is
// in memory, and nowhere else, and must arrive all the same. The size is smaller than what most scenarios write, so that
// Writes wait, too.
//
// It is not among [Stacks]: records, deferral and endings are Tlsstream's.
func TlsstreamWriteBehind() Stack {
	o := &tlsstream.Options{WriteBehind: 96 << 10}
	return Stack{
		Name:   "tlsstream-writebehind",
		Server: func(conn net.Conn, config *tls.Config) Conn { return o.Server(conn, config) },
		Client: func(conn net.Conn, config *tls.Config) Conn { return o.Client(conn, config) },
		// Its schedule grants one call of the transport at a time, and takes a side whose program waits for one that does
		// nothing. Here a goroutine calls that nobody waits for.
		Except: []string{"random-ops"},
	}
}

// TlsstreamListener returns a plain *tls.Conn over a transport that defers. The server is what tlsstream.Listener
// accepts, the client what a library makes that is given ticketdefer's conn and config.
func TlsstreamListener() Stack {
	return Stack{
		Name: "tlsstream-listener",
		Server: func(conn net.Conn, config *tls.Config) Conn {
			accepted, err := tlsstream.NewListener(oneConn{conn: conn}, config).Accept()
			if err != nil {
				panic(err) // only oneConn could have failed
			}
			return accepted.(*tls.Conn)
		},
		Client: func(conn net.Conn, config *tls.Config) Conn {
			return tls.Client(ticketdefer.WrapConn(conn), ticketdefer.WrapConfig(config))
		},
		// What an application sees of these is crypto/tls's own, and net/http relies on the first.
		Except:        []string{"truncated-download", "write-deadline"},
		clientMayLose: true,
	}
}

// oneConn is a listener that accepts a conn that is there already.
type oneConn struct {
	net.Listener
	conn net.Conn
}

func (l oneConn) Accept() (net.Conn, error) { return l.conn, nil }

// Stacks returns the stacks built in that a run has unless it names others.
func Stacks() []Stack {
	return []Stack{Stdlib(), Tlsstream(), TlsstreamListener(), TlsstreamEngine()}
}

// NamedStacks returns the stacks built in that a run has only if it names them.
func NamedStacks() []Stack { return append([]Stack{TlsstreamWriteBehind(), TlsstreamOwn()}, UTLS()...) }
