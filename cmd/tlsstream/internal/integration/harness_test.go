package integration

import (
	"crypto/tls"
	"flag"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

var testCA = tlstest.NewCA()

// testTimeout bounds what a test waits for. It is reached only if something hangs, so it is generous: the machine may
// be busy.
const testTimeout = 30 * time.Second

// runs is how often an upload is made.
var runs = flag.Int("integration.runs", 2, "runs of each upload")

// A layer goes below a library that makes its TLS itself: ours, or none, which is the control.
type layer struct {
	name     string
	defers   bool
	listener func(net.Listener) net.Listener
	conn     func(net.Conn) net.Conn
	config   func(*tls.Config) *tls.Config
}

var (
	stock = layer{
		name:     "stock",
		listener: func(l net.Listener) net.Listener { return l },
		conn:     func(c net.Conn) net.Conn { return c },
		config:   func(c *tls.Config) *tls.Config { return c },
	}
	ours = layer{
		name: "ours", defers: true,
		listener: ticketdefer.WrapListener,
		conn:     func(c net.Conn) net.Conn { return ticketdefer.WrapConn(c) },
		config:   ticketdefer.WrapConfig,
	}
	layers = []layer{stock, ours}
)

// resumable returns client settings with a session cache: without one a crypto/tls client asks for no ticket, and a test
// about tickets passes vacuously.
func resumable(ca *tlstest.CA) *tls.Config {
	config := ca.ClientConfig()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	return config
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustEqual(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s, -want +got:\n%s", what, diff)
	}
}
