package tlsstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A handshakeCase is a handshake that fails, and what is known of it.
type handshakeCase struct {
	name   string
	client bool // our side is the client

	// config changes the configurations of both sides; nil leaves them.
	config func(client, server *tls.Config)
	// peer plays the other side. If nil, crypto/tls does.
	peer func(t *testing.T, conn *net.TCPConn, config *tls.Config)
	// timeout sets deadlines, which the peer outlasts.
	timeout bool

	want wantHandshake
	// is and as are found in the error.
	is []error
	as any
	// hint is a part of what the error must tell its reader.
	hint string
}

// A wantHandshake is what a HandshakeError and the AlertError in it say.
type wantHandshake struct {
	Stage   tlsstream.Stage
	Alert   tlsstream.Alert // close_notify stands for none
	Remote  bool            // the peer sent the alert
	Timeout bool
}

// silence takes what comes and sends nothing, until the other side has gone.
func silence(_ *testing.T, conn *net.TCPConn, _ *tls.Config) { io.Copy(io.Discard, conn) }

// speak sends plaintext, then behaves like silence.
func speak(text string) func(*testing.T, *net.TCPConn, *tls.Config) {
	return func(t *testing.T, conn *net.TCPConn, config *tls.Config) {
		io.WriteString(conn, text)
		silence(t, conn, config)
	}
}

// flight returns the first n bytes of what a side would send now: a client its
// ClientHello, a server what answers the record that it reads from conn. If n is
// negative, all but its last -n bytes; if zero, all.
func flight(t *testing.T, conn *net.TCPConn, client bool, config *tls.Config, n int) []byte {
	t.Helper()
	engine := tlsstream.NewServerEngine(config)
	if client {
		engine = tlsstream.NewClientEngine(config)
	}
	defer engine.Close()
	if !client {
		hello, err := readRecord(conn)
		if err != nil {
			t.Error(err)
			return nil
		}
		engine.Feed(hello)
	}
	if err := engine.Handshake(); err != tlsstream.ErrWantRead {
		t.Errorf("peer's handshake: %v", err)
		return nil
	}
	p := make([]byte, engine.Pending())
	engine.Take(p)
	if n <= 0 {
		n += len(p)
	}
	return p[:n]
}

// partOf sends a part of the first flight; see flight. Then it calls then.
func partOf(n int, client bool, then func(*net.TCPConn)) func(*testing.T, *net.TCPConn, *tls.Config) {
	return func(t *testing.T, conn *net.TCPConn, config *tls.Config) {
		conn.Write(flight(t, conn, client, config, n))
		then(conn)
	}
}

func stay(conn *net.TCPConn)   { io.Copy(io.Discard, conn) }
func finish(conn *net.TCPConn) { conn.CloseWrite(); stay(conn) }
func reset(conn *net.TCPConn)  { conn.SetLinger(0); conn.Close() }

// afterHello waits for the client's first record.
func afterHello(then func(*net.TCPConn)) func(*testing.T, *net.TCPConn, *tls.Config) {
	return func(t *testing.T, conn *net.TCPConn, config *tls.Config) {
		if _, err := readRecord(conn); err != nil {
			t.Error(err)
		}
		then(conn)
	}
}

// afterFlight sends a whole ClientHello and waits until the server has answered.
func afterFlight(then func(*net.TCPConn)) func(*testing.T, *net.TCPConn, *tls.Config) {
	return func(t *testing.T, conn *net.TCPConn, config *tls.Config) {
		conn.Write(flight(t, conn, true, config, 0))
		if _, err := readRecord(conn); err != nil {
			t.Error(err)
		}
		then(conn)
	}
}

// afterAnswer is a server of TLS 1.2 that sends its flight and waits for the first record of the client's.
func afterAnswer(then func(*net.TCPConn)) func(*testing.T, *net.TCPConn, *tls.Config) {
	return partOf(0, false, func(conn *net.TCPConn) {
		readRecord(conn)
		then(conn)
	})
}

func (c *handshakeCase) run(t *testing.T) error {
	clientConn, serverConn := tlstest.TCPPair(t)
	clientConfig, serverConfig := endCA.ClientConfig(), endCA.ServerConfig()
	if c.config != nil {
		c.config(clientConfig, serverConfig)
	}
	ours, theirs, peerConfig := serverConn, clientConn, clientConfig
	conn := tlsstream.Server(ours, serverConfig)
	if c.client {
		ours, theirs, peerConfig = clientConn, serverConn, serverConfig
		conn = tlsstream.Client(ours, clientConfig)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer theirs.Close()
		switch {
		case c.peer != nil:
			c.peer(t, theirs, peerConfig)
		case c.client:
			tls.Server(theirs, peerConfig).Handshake()
			silence(t, theirs, nil)
		default:
			peer := tls.Client(theirs, peerConfig)
			peer.Handshake()
			silence(t, theirs, nil)
		}
	}()
	conn.SetDeadline(time.Now().Add(endPatience))
	if c.timeout {
		conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
	}
	err := conn.Handshake()
	// A timeout is not final, and either side may have needed longer to get so far.
	for began := time.Now(); c.timeout && time.Since(began) < endPatience; err = conn.Handshake() {
		if h := (*tlsstream.HandshakeError)(nil); errors.As(err, &h) && h.Stage == c.want.Stage && strings.Contains(h.Hint, c.hint) {
			break
		}
		conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
	}
	conn.Close()
	<-gone
	return err
}

func TestHandshakeErrorTellsWhatHappened(t *testing.T) {
	for _, c := range handshakeCases() {
		side := "server"
		if c.client {
			side = "client"
		}
		t.Run(side+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			err := c.run(t)
			var h *tlsstream.HandshakeError
			if !errors.As(err, &h) {
				t.Fatalf("got %T %v, want a *HandshakeError", err, err)
			}
			got := wantHandshake{Stage: h.Stage, Timeout: h.Timeout()}
			if a := (*tlsstream.AlertError)(nil); errors.As(err, &a) {
				got.Alert, got.Remote = a.Alert, a.Remote
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s\n%v", diff, err)
			}
			if h.Client != c.client || h.Remote == nil {
				t.Errorf("client %v, peer %v", h.Client, h.Remote)
			}
			for _, target := range c.is {
				if !errors.Is(err, target) {
					t.Errorf("is not %v: %v", target, err)
				}
			}
			if c.as != nil && !errors.As(err, c.as) {
				t.Errorf("is no %T: %v", c.as, err)
			}
			if errors.Is(err, io.EOF) {
				t.Errorf("a handshake that failed may pass as the end of a stream: %v", err)
			}
			if !strings.Contains(err.Error(), c.hint) {
				t.Errorf("does not say %q: %v", c.hint, err)
			}
			t.Log(err)
		})
	}
}

var (
	tls12Only = func(client, server *tls.Config) { client.MaxVersion = tls.VersionTLS12 }
	noVersion = func(client, server *tls.Config) {
		client.MaxVersion, server.MinVersion = tls.VersionTLS12, tls.VersionTLS13
	}
	noProtocol = func(client, server *tls.Config) {
		client.NextProtos, server.NextProtos = []string{"a"}, []string{"b"}
	}
	strangeCA  = func(client, server *tls.Config) { client.RootCAs = tlstest.NewCA().Pool() }
	wrongName  = func(client, server *tls.Config) { client.ServerName = "elsewhere.example" }
	clientLate = func(client, server *tls.Config) {
		client.Time = func() time.Time { return time.Now().AddDate(1, 0, 0) }
	}
	certificateNeeded = func(client, server *tls.Config) {
		server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, endCA.Pool()
	}
	strangeClient = func(client, server *tls.Config) {
		certificateNeeded(client, server)
		client.Certificates = []tls.Certificate{tlstest.NewCA().Client("mallory")}
		// Without this the client sends none that the server's CAs have not signed.
		cert := client.Certificates[0]
		client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	serverLate = func(client, server *tls.Config) {
		certificateNeeded(client, server)
		client.Certificates = []tls.Certificate{endCA.Client("alice")}
		server.Time = func() time.Time { return time.Now().AddDate(1, 0, 0) }
	}
)

func both(fs ...func(client, server *tls.Config)) func(client, server *tls.Config) {
	return func(client, server *tls.Config) {
		for _, f := range fs {
			f(client, server)
		}
	}
}

func handshakeCases() []handshakeCase {
	const (
		helloSent      = tlsstream.StageHelloSent
		helloReceived  = tlsstream.StageHelloReceived
		flightReceived = tlsstream.StageFlightReceived
		flightSent     = tlsstream.StageFlightSent

		clientFlightSent = tlsstream.StageClientFlightSent
	)
	cut := []error{io.ErrUnexpectedEOF}
	late := []error{os.ErrDeadlineExceeded}
	broken := []error{syscall.ECONNRESET}
	remote := func(stage tlsstream.Stage, a tlsstream.Alert) wantHandshake {
		return wantHandshake{Stage: stage, Alert: a, Remote: true}
	}
	local := func(stage tlsstream.Stage, a tlsstream.Alert) wantHandshake {
		return wantHandshake{Stage: stage, Alert: a}
	}
	plain := func(stage tlsstream.Stage) wantHandshake { return wantHandshake{Stage: stage} }
	timeout := func(stage tlsstream.Stage) wantHandshake { return wantHandshake{Stage: stage, Timeout: true} }
	return []handshakeCase{
		{name: "not TLS", client: true, peer: speak("HTTP/1.1 400 Bad Request\r\n\r\n"), want: plain(helloSent), as: new(tls.RecordHeaderError), hint: `HTTP/1.1 400 Bad Request`},
		{name: "not TLS and brief", client: true, peer: func(t *testing.T, c *net.TCPConn, _ *tls.Config) { io.WriteString(c, "NO\n"); finish(c) }, want: plain(helloSent), is: cut, hint: `NO\n`},
		{name: "no common version", client: true, config: noVersion, want: remote(helloSent, tlsstream.AlertProtocolVersion), hint: "no TLS version in common"},
		{name: "no common version, found by us", client: true, config: func(c, s *tls.Config) { c.MinVersion, s.MaxVersion = tls.VersionTLS13, tls.VersionTLS12 }, want: remote(helloSent, tlsstream.AlertProtocolVersion), hint: "no TLS version in common"},
		{name: "no common protocol", client: true, config: noProtocol, want: remote(helloSent, tlsstream.AlertNoApplicationProtocol), hint: "NextProtos"},
		{name: "unknown CA", client: true, config: strangeCA, want: local(flightReceived, tlsstream.AlertBadCertificate), as: new(x509.UnknownAuthorityError), hint: "RootCAs"},
		{name: "unknown CA, TLS 1.2", client: true, config: both(tls12Only, strangeCA), want: local(flightReceived, tlsstream.AlertBadCertificate), as: new(x509.UnknownAuthorityError), hint: "RootCAs"},
		{name: "wrong name", client: true, config: wrongName, want: local(flightReceived, tlsstream.AlertBadCertificate), as: new(x509.HostnameError), hint: "ServerName"},
		{name: "expired", client: true, config: clientLate, want: local(flightReceived, tlsstream.AlertBadCertificate), as: new(x509.CertificateInvalidError), hint: "clock"},
		{name: "certificate required, TLS 1.2", client: true, config: both(tls12Only, certificateNeeded), want: remote(clientFlightSent, tlsstream.AlertHandshakeFailure), hint: "certificate"},
		{name: "certificate refused, TLS 1.2", client: true, config: both(tls12Only, strangeClient), want: remote(clientFlightSent, tlsstream.AlertUnknownCA), hint: "does not trust the authority"},
		{name: "reset after ClientHello", client: true, peer: afterHello(reset), want: plain(helloSent), is: broken, hint: "on seeing the ClientHello"},
		{name: "reset in the middle", client: true, peer: partOf(200, false, reset), want: plain(flightReceived), is: broken, hint: "in the middle"},
		{name: "closed before anything", client: true, peer: afterHello(finish), want: plain(helloSent), is: cut, hint: "before it sent anything"},
		{name: "closed in the middle", client: true, peer: partOf(200, false, finish), want: plain(flightReceived), is: cut, hint: "in the middle"},
		{name: "closed at the last byte", client: true, peer: partOf(-1, false, finish), want: plain(flightReceived), is: cut, hint: "in the middle"},
		{name: "timeout before ServerHello", client: true, timeout: true, peer: silence, want: timeout(helloSent), is: late, hint: "ServerHello"},
		{name: "timeout in the flight", client: true, timeout: true, peer: partOf(200, false, stay), want: timeout(flightReceived), is: late, hint: "flight"},
		{name: "timeout before Finished, TLS 1.2", client: true, timeout: true, config: tls12Only, peer: partOf(0, false, stay), want: timeout(clientFlightSent), is: late, hint: "Finished"},
		{name: "reset before Finished, TLS 1.2", client: true, config: tls12Only, peer: afterAnswer(reset), want: plain(clientFlightSent), is: broken, hint: "in the middle"},

		{name: "not TLS", peer: speak("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), want: plain(tlsstream.StageConnected), as: new(tls.RecordHeaderError), hint: "GET / HTTP/1.1"},
		{name: "no common version", config: noVersion, want: local(helloReceived, tlsstream.AlertProtocolVersion), hint: "MinVersion"},
		{name: "no common protocol", config: noProtocol, want: local(helloReceived, tlsstream.AlertNoApplicationProtocol), hint: "NextProtos"},
		{name: "unknown CA", config: strangeClient, want: local(flightSent, tlsstream.AlertUnknownCA), as: new(x509.UnknownAuthorityError), hint: "ClientCAs"},
		{name: "unknown CA, TLS 1.2", config: both(tls12Only, strangeClient), want: local(flightSent, tlsstream.AlertUnknownCA), as: new(x509.UnknownAuthorityError), hint: "ClientCAs"},
		{name: "no certificate", config: certificateNeeded, want: local(flightSent, tlsstream.AlertCertificateRequired), hint: "ClientAuth"},
		{name: "expired", config: serverLate, want: local(flightSent, tlsstream.AlertCertificateExpired), as: new(x509.CertificateInvalidError), hint: "clock"},
		{name: "refused by the client", config: strangeCA, want: remote(flightSent, tlsstream.AlertBadCertificate), hint: "not accepted"},
		{name: "reset before anything", peer: func(t *testing.T, c *net.TCPConn, _ *tls.Config) { reset(c) }, want: plain(tlsstream.StageConnected), is: broken, hint: "before it sent anything"},
		{name: "reset in the ClientHello", peer: partOf(50, true, reset), want: plain(helloReceived), is: broken, hint: "in the middle"},
		{name: "reset after the flight", peer: afterFlight(reset), want: plain(flightSent), is: broken, hint: "in the middle"},
		{name: "closed before anything", peer: func(t *testing.T, c *net.TCPConn, _ *tls.Config) { finish(c) }, want: plain(tlsstream.StageConnected), is: cut, hint: "before it sent anything"},
		{name: "closed in the ClientHello", peer: partOf(50, true, finish), want: plain(helloReceived), is: cut, hint: "in the middle"},
		{name: "closed after the flight", peer: afterFlight(finish), want: plain(flightSent), is: cut, hint: "in the middle"},
		{name: "timeout before ClientHello", timeout: true, peer: silence, want: timeout(tlsstream.StageConnected), is: late, hint: "client's ClientHello"},
		{name: "timeout in the ClientHello", timeout: true, peer: partOf(50, true, stay), want: timeout(helloReceived), is: late, hint: "ClientHello, of which a part has come"},
		{name: "timeout before Finished", timeout: true, peer: afterFlight(stay), want: timeout(flightSent), is: late, hint: "Finished"},
		{name: "timeout before Finished, TLS 1.2", timeout: true, config: tls12Only, peer: afterFlight(stay), want: timeout(flightSent), is: late, hint: "Finished"},
	}
}
