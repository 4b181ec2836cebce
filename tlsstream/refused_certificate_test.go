package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

var refusedRuns = flag.Int("refused.runs", 100, "runs with a refused client certificate for each pair of stacks that must always tell; the others get a fifth")

// A refusal is a reason for which a server turns a client away, and the alert
// that says so.
type refusal struct {
	name   string
	alert  tlsstream.Alert
	config func(client, server *tls.Config)
}

func refusals() []refusal {
	return []refusal{
		{"required", tlsstream.AlertCertificateRequired, certificateNeeded},
		{"unknown CA", tlsstream.AlertUnknownCA, strangeClient},
		{"refused by VerifyConnection", tlsstream.AlertBadCertificate, func(client, server *tls.Config) {
			certificateNeeded(client, server)
			client.Certificates = []tls.Certificate{endCA.Client("alice")}
			server.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not today") }
		}},
	}
}

// refusedServer is how a stack's server treats its connections: handshake, and
// Close if that fails.
type refusedServer struct {
	name   string
	accept func(l *tlsstream.Listener) (ender, error)
}

var refusedServers = []refusedServer{
	{"tlsstream", func(l *tlsstream.Listener) (ender, error) { return l.AcceptStream() }},
	{"tls.Conn of Listener", func(l *tlsstream.Listener) (ender, error) {
		c, err := l.Accept()
		if err != nil {
			return nil, err
		}
		return c.(*tls.Conn), nil
	}},
	{"stdlib", nil},
}

// A refusedClient is a client after its handshake. It returns the first error.
type refusedClient func(ender) error

// writesFirst writes size bytes, then reads.
func writesFirst(size int) refusedClient {
	return func(c ender) error {
		if _, err := c.Write(make([]byte, size)); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 1))
		return err
	}
}

// writesOnly writes size bytes and closes.
func writesOnly(size int) refusedClient {
	return func(c ender) error {
		if _, err := c.Write(make([]byte, size)); err != nil {
			return err
		}
		return c.Close()
	}
}

// run refuses n clients one after the other. It returns what those were told that
// were not told the alert.
func (s refusedServer) run(t *testing.T, r refusal, client func(net.Conn, *tls.Config) ender, n int, life refusedClient) (others []error) {
	t.Helper()
	clientConfig, serverConfig := endCA.ClientConfig(), endCA.ServerConfig()
	r.config(clientConfig, serverConfig)
	var wait sync.WaitGroup
	inner := endListen(t)
	defer wait.Wait()
	defer inner.Close()
	accept := func() (ender, error) {
		c, err := inner.Accept()
		if err != nil {
			return nil, err
		}
		return tls.Server(c, serverConfig), nil
	}
	if s.accept != nil {
		l := tlsstream.NewListener(inner, serverConfig)
		accept = func() (ender, error) { return s.accept(l) }
	}
	wait.Go(func() {
		for {
			conn, err := accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				if conn.Handshake() == nil {
					t.Error("the handshake succeeded")
				}
				conn.Close()
			})
		}
	})
	for range n {
		err := func() error {
			conn, err := net.Dial("tcp", inner.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c := client(conn, clientConfig)
			defer c.Close()
			c.SetDeadline(time.Now().Add(endPatience))
			if err := c.Handshake(); err != nil {
				return err
			}
			return life(c)
		}()
		if alertOfAny(err) != r.alert {
			others = append(others, err)
		}
	}
	return others
}

// alertOfAny finds the peer's alert in an error of either stack; close_notify
// stands for none.
func alertOfAny(err error) tlsstream.Alert {
	if seen := alertIn(err); seen != (alertSeen{}) {
		return seen.Alert
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return tlsstream.Alert(reflect.ValueOf(op.Err).Uint())
	}
	return tlsstream.AlertCloseNotify
}

// alertOutlivesReset is set where a reset leaves what came before it to be read.
// Elsewhere our client cannot know what a stock server said before it reset.
const alertOutlivesReset = runtime.GOOS == "linux"

func oursClient(c net.Conn, config *tls.Config) ender  { return tlsstream.Client(c, config) }
func stockClient(c net.Conn, config *tls.Config) ender { return tls.Client(c, config) }

// A client whose certificate is refused has finished its handshake, and writes.
// Whatever it sends, its error is the alert, and not the reset that closing on
// top of its data would cause.
func TestRefusedClientLearnsTheAlert(t *testing.T) {
	for _, row := range []struct {
		server     refusedServer
		clientName string
		client     func(net.Conn, *tls.Config) ender
		always     bool
	}{
		{refusedServers[0], "tlsstream", oursClient, true},
		{refusedServers[1], "tlsstream", oursClient, true},
		{refusedServers[2], "tlsstream", oursClient, true},
		{refusedServers[0], "stdlib", stockClient, true},
		{refusedServers[1], "stdlib", stockClient, true},
		{refusedServers[2], "stdlib", stockClient, false},
	} {
		t.Run(fmt.Sprintf("server=%s/client=%s", row.server.name, row.clientName), func(t *testing.T) {
			t.Parallel()
			told, n := 0, 0
			for i, r := range refusals() {
				runs := (*refusedRuns + i) / 3
				others := row.server.run(t, r, row.client, runs, writesFirst(1<<20))
				told, n = told+runs-len(others), n+runs
				if len(others) > 0 {
					t.Logf("%s: %d of %d, such as: %v", r.name, len(others), runs, others[0])
				}
			}
			t.Logf("%d of %d clients were told the alert", told, n)
			if row.server.accept == nil && !alertOutlivesReset {
				return
			}
			if row.always != (told == n) {
				t.Errorf("%d of %d clients were told the alert, want all: %v", told, n, row.always)
			}
		})
	}
}

// A client that sends more than a server would drain runs into a reset, and finds
// the alert before it.
func TestRefusedClientThatDoesNotStopLearnsTheAlert(t *testing.T) {
	if !alertOutlivesReset {
		t.Skip("this system discards received data at a reset")
	}
	for _, server := range refusedServers {
		t.Run("server="+server.name, func(t *testing.T) {
			t.Parallel()
			for _, r := range refusals() {
				if others := server.run(t, r, oursClient, 2, writesFirst(48<<20)); len(others) > 0 {
					t.Errorf("%s: %v", r.name, others)
				}
			}
		})
	}
}

// A client that writes what the socket buffers take, and closes, has had no other
// call to be told by than Close. The stock client reports success.
func TestRefusedClientThatOnlyWritesLearnsTheAlertFromClose(t *testing.T) {
	for _, server := range refusedServers {
		if server.accept == nil && !alertOutlivesReset {
			continue
		}
		for _, size := range []int{0, 1, 16 << 10} {
			t.Run(fmt.Sprintf("server=%s/%d", server.name, size), func(t *testing.T) {
				t.Parallel()
				for _, r := range refusals() {
					if others := server.run(t, r, oursClient, 5, writesOnly(size)); len(others) > 0 {
						t.Errorf("%s: %v", r.name, others)
					}
					if others := server.run(t, r, stockClient, 1, writesOnly(size)); len(others) != 1 || others[0] != nil {
						t.Logf("%s: the stock client was told %v", r.name, others)
					}
				}
			})
		}
	}
}
