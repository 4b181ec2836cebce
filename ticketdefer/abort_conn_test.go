package ticketdefer

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// An abortTransport calls its hooks before it does anything.
type abortTransport struct {
	net.Conn
	onWrite            func()
	onDeadline         func(t time.Time)
	onSetWriteDeadline func(t time.Time)
}

func (a *abortTransport) Write(p []byte) (int, error) {
	if a.onWrite != nil {
		a.onWrite()
	}
	return a.Conn.Write(p)
}

func (a *abortTransport) SetDeadline(t time.Time) error {
	if a.onDeadline != nil {
		a.onDeadline(t)
	}
	return a.Conn.SetDeadline(t)
}

func (a *abortTransport) SetWriteDeadline(t time.Time) error {
	if a.onSetWriteDeadline != nil {
		a.onSetWriteDeadline(t)
	}
	return a.Conn.SetWriteDeadline(t)
}

// abortConnPair makes a server over a Conn over a TCP socket with hooks, and a client of crypto/tls.
func abortConnPair(t *testing.T, change func(server *tls.Config)) (*tls.Conn, *Conn, *abortTransport, *tls.Conn) {
	t.Helper()
	a, b := tlstest.TCPPair(t)
	a.SetDeadline(time.Now().Add(20 * time.Second)) // a test that fails is not to hang
	ca := tlstest.NewCA()
	config := ca.ServerConfig()
	if change != nil {
		change(config)
	}
	transport := &abortTransport{Conn: b}
	conn := WrapConn(transport)
	t.Cleanup(func() { conn.Close() })
	return tls.Server(conn, BindConfig(config, conn)), conn, transport, tls.Client(a, ca.ClientConfig())
}

func abortConnShake(t *testing.T, server, client *tls.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
}

// Once Abort has begun, nothing is written any more that its alert would not follow.
func TestAbortRefusesLaterWrites(t *testing.T) {
	server, conn, transport, client := abortConnPair(t, nil)
	abortConnShake(t, server, client)
	if _, err := server.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	var during error
	transport.onDeadline = func(time.Time) {
		transport.onDeadline = nil
		_, during = conn.Write([]byte("220 plaintext\r\n"))
	}
	if err := conn.Abort(80, time.Second, 0); err != nil {
		t.Error(err)
	}
	if !errors.Is(during, net.ErrClosed) {
		t.Errorf("a Write after Abort has begun: %v, want net.ErrClosed", during)
	}
	data, err := io.ReadAll(client)
	if diff := cmp.Diff("before", string(data)); diff != "" {
		t.Error(diff)
	}
	if err == nil || err.Error() != "remote error: tls: internal error" {
		t.Errorf("the peer's error is %v", err)
	}
	if _, err := conn.Write([]byte("220 plaintext\r\n")); err == nil {
		t.Error("a Write after Abort succeeded")
	}
}

// A deadline that is being set while Abort begins does not take Abort's place: a Write would stay blocked.
func TestAbortsDeadlineIsNotReplaced(t *testing.T) {
	server, conn, transport, client := abortConnPair(t, nil)
	abortConnShake(t, server, client)
	var last time.Time
	ours := make(chan struct{})
	aborted := make(chan error, 1)
	transport.onDeadline = func(t time.Time) {
		last = t
		close(ours)
	}
	transport.onSetWriteDeadline = func(time.Time) {
		transport.onSetWriteDeadline = nil
		go func() { aborted <- conn.Abort(80, time.Second, 0) }()
		select {
		case <-ours:
			t.Error("Abort set its deadline in the midst of another's being set, which then replaces it")
		case <-time.After(50 * time.Millisecond): // it waits
		}
	}
	conn.SetWriteDeadline(time.Now().Add(time.Hour))
	if err := <-aborted; err != nil {
		t.Error(err)
	}
	if !last.Before(time.Now()) {
		t.Errorf("Abort set %v", last)
	}
}

// A transport that does not keep deadlines cannot hold Abort up.
func TestAbortLeavesAStuckWrite(t *testing.T) {
	server, conn, transport, client := abortConnPair(t, nil)
	abortConnShake(t, server, client)
	stuck, freed := make(chan struct{}), make(chan struct{})
	transport.onWrite = func() {
		close(stuck)
		<-freed
	}
	written := make(chan error, 1)
	go func() {
		_, err := server.Write([]byte("data"))
		written <- err
	}()
	<-stuck
	start := time.Now()
	if err := conn.Abort(80, time.Second, time.Second); err == nil {
		t.Error("Abort reports success")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Abort took %v", took)
	}
	close(freed)
	if err := <-written; err == nil {
		t.Error("the Write succeeded on a closed transport")
	}
}

// While the server computes its flight, the client is in the clear; what the server would have sent stays unsent.
func TestAbortDuringACallback(t *testing.T) {
	callbacks := map[string]func(config *tls.Config, stop func()){
		"GetConfigForClient": func(config *tls.Config, stop func()) {
			config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				stop()
				return nil, nil
			}
		},
		"GetCertificate": func(config *tls.Config, stop func()) {
			cert := config.Certificates[0]
			config.Certificates = nil
			config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				stop()
				return &cert, nil
			}
		},
		"WrapSession": func(config *tls.Config, stop func()) {
			config.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) {
				stop()
				return []byte("ticket"), nil
			}
		},
	}
	for name, set := range callbacks {
		t.Run(name, func(t *testing.T) {
			inCallback, goOn := make(chan struct{}), make(chan struct{})
			server, conn, _, client := abortConnPair(t, func(config *tls.Config) {
				set(config, func() {
					close(inCallback)
					<-goOn
				})
			})
			shaken := make(chan error, 1)
			go func() { shaken <- server.Handshake() }()
			clientErr := make(chan error, 1)
			go func() {
				clientErr <- tls.Client(client.NetConn(), &tls.Config{
					InsecureSkipVerify: true,
					ServerName:         "localhost",
					ClientSessionCache: tls.NewLRUClientSessionCache(1), // so that there is a ticket
				}).Handshake()
				client.NetConn().Close()
			}()
			<-inCallback
			if err := conn.Abort(80, time.Second, time.Second); err != nil {
				t.Error(err)
			}
			close(goOn)
			if err := <-clientErr; err == nil || err.Error() != "remote error: tls: internal error" {
				t.Errorf("the client's error is %v", err)
			}
			if err := <-shaken; err == nil {
				t.Error("the server's handshake succeeded")
			}
		})
	}
}
