package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// An abortHandshake is a kind of handshake.
type abortHandshake struct {
	name   string
	change func(client, server *tls.Config)
	resume bool
	retry  bool // with a HelloRetryRequest
	tls12  bool
	// stride is how many bytes are between two places where Abort is tried.
	// Lengths differ a little between runs.
	stride int
}

func onlyTLS12(client, _ *tls.Config) { client.MaxVersion = tls.VersionTLS12 }

var abortHandshakes = []abortHandshake{
	{name: "full", change: func(client, server *tls.Config) {}, stride: 7},
	{name: "client certificate", change: func(client, server *tls.Config) {
		client.Certificates = []tls.Certificate{abortCA.Client("alice")}
		server.ClientAuth = tls.RequireAnyClientCert
	}, stride: 19},
	{name: "hello retry", change: func(client, server *tls.Config) {
		client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
		server.CurvePreferences = []tls.CurveID{tls.CurveP256}
	}, retry: true, stride: 19},
	{name: "resumption", change: func(client, server *tls.Config) {}, resume: true, stride: 7},
	{name: "TLS 1.2", change: onlyTLS12, tls12: true, stride: 19},
	{name: "TLS 1.2 resumption", change: onlyTLS12, tls12: true, resume: true, stride: 7},
}

// tooEarly reports whether a client that has received so many bytes cannot seal an alert in the keys that its server
// is in already. Servers on OpenSSL take one in the clear then; crypto/tls fails with bad_record_mac.
func (h abortHandshake) tooEarly(client bool, received int) bool {
	const (
		hello = 5 + 122 // a ServerHello of crypto/tls in its record
		retry = 5 + 88  // a HelloRetryRequest; change_cipher_spec comes behind it
	)
	switch {
	case !client || h.tls12:
		return false
	case h.retry:
		return received >= retry && received < retry+6+hello+65-32 // with a key of P-256
	case h.resume:
		return received < hello+6 // with pre_shared_key
	}
	return received < hello
}

// Wherever in the handshake our side waits for its peer, the peer reads an alert: in the clear, under the handshake
// keys, or under the application's.
func TestAbortInEveryStateOfTheHandshake(t *testing.T) {
	abortNoLeak(t)
	for _, h := range abortHandshakes {
		t.Run(h.name, func(t *testing.T) {
			abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
				client, server := abortConfigs()
				h.change(client, server)
				if h.resume {
					us, them := abortPair(t, abortPaths[0], abortRoles[0], client, server, nil)
					heard := abortListen(them)
					us.Close() // sends the ticket
					<-heard
				}
				at := 0
				for ; testAbortInHandshake(t, h, p, r, client.Clone(), server, at); at += h.stride {
				}
				if at < 100 {
					t.Errorf("the handshake was complete after %d bytes", at)
				}
			})
		})
	}
}

// testAbortInHandshake aborts once our side waits for more than at bytes. It returns false if it does not.
func testAbortInHandshake(t *testing.T, h abortHandshake, p abortPath, r abortRole, client, server *tls.Config, at int) bool {
	t.Helper()
	tickets := client.ClientSessionCache
	client.ClientSessionCache = abortReadOnly{tickets}
	var valve *abortValve
	us, them := abortEnds(t, p, r, client, server, func(c *net.TCPConn) net.Conn {
		valve = newAbortValve(c, at, -1)
		return valve
	})
	heard := abortListen(them)
	shaken := make(chan error, 1)
	go func() { shaken <- us.Handshake() }()
	select {
	case <-valve.in.blocked:
	case err := <-shaken:
		if err != nil {
			t.Fatal(err)
		}
		valve.Close()
		<-heard
		return false
	}
	abortErr := tlsstream.Abort(us, tlsstream.AlertInternalError)
	if err := <-shaken; p.name == "Conn" {
		wantAborted(t, "the Handshake in progress", err, tlsstream.AlertInternalError)
	} else if err == nil {
		t.Error("the Handshake in progress succeeded")
	}
	end := <-heard
	alert, ok := abortAlert(end.err)
	switch {
	case p.name == "tls.Conn" && errors.Is(abortErr, ticketdefer.ErrNoKeys):
		// Before the client's random has come nothing says that it is TLS,
		// and TLS 1.2 has keys that are not known here.
		if at >= 43 && !h.tls12 {
			t.Errorf("after %d bytes: %v", at, abortErr)
		}
	case abortErr != nil:
		t.Errorf("after %d bytes: Abort: %v", at, abortErr)
	case h.tooEarly(r.name == "client", at):
		if end.err == nil {
			t.Errorf("after %d bytes the peer's handshake succeeded", at)
		}
	case !ok, alert != tlsstream.AlertInternalError && !h.tls12:
		t.Errorf("after %d bytes the peer's error is %v, want an alert", at, end.err)
	}
	return !t.Failed()
}

// A flight that is stuck anywhere is completed, and the alert comes behind it.
func TestAbortInterruptsAHandshakeThatWrites(t *testing.T) {
	abortNoLeak(t)
	abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
		at := 0
		for ; testAbortInFlight(t, p, r, at); at += 11 {
		}
		if at < 100 {
			t.Errorf("the handshake was complete after %d bytes", at)
		}
	})
}

func testAbortInFlight(t *testing.T, p abortPath, r abortRole, at int) bool {
	t.Helper()
	var valve *abortValve
	client, server := abortConfigs()
	us, them := abortEnds(t, p, r, client, server, func(c *net.TCPConn) net.Conn {
		valve = newAbortValve(c, -1, at)
		return valve
	})
	heard := abortListen(them)
	shaken := make(chan error, 1)
	go func() { shaken <- us.Handshake() }()
	select {
	case <-valve.out.blocked:
	case <-shaken:
		valve.Close()
		<-heard
		return false
	}
	tooEarly := r.name == "client" && valve.in.count() == 0
	if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
		t.Errorf("after %d bytes: Abort: %v", at, err)
	}
	if err := <-shaken; p.name == "Conn" {
		wantAborted(t, "the Handshake in progress", err, tlsstream.AlertInternalError)
	}
	end := <-heard
	if alert, ok := abortAlert(end.err); !ok && !(tooEarly && end.err != nil) || ok && alert != tlsstream.AlertInternalError {
		t.Errorf("after %d bytes the peer's error is %v, want an alert", at, end.err)
	}
	return !t.Failed()
}

// abortReadOnly keeps a session cache as it is.
type abortReadOnly struct{ tls.ClientSessionCache }

func (abortReadOnly) Put(string, *tls.ClientSessionState) {}

// In a callback of the configuration Abort cannot know what crypto/tls has computed. It closes without an alert, and
// says so.
func TestAbortDuringACallbackOfAConn(t *testing.T) {
	abortNoLeak(t)
	client, server := abortConfigs()
	inCallback, goOn := make(chan struct{}), make(chan struct{})
	cert := server.Certificates[0]
	server.Certificates = nil
	server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		close(inCallback)
		<-goOn
		return &cert, nil
	}
	us, them := abortEnds(t, abortPaths[0], abortRoles[0], client, server, nil)
	heard := abortListen(them)
	shaken := make(chan error, 1)
	go func() { shaken <- us.Handshake() }()
	<-inCallback
	start := time.Now()
	if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err == nil {
		t.Error("Abort reports success")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Abort took %v", took)
	}
	if h := <-heard; h.err == nil {
		t.Error("the peer's handshake succeeded")
	}
	close(goOn)
	wantAborted(t, "the Handshake in progress", <-shaken, tlsstream.AlertInternalError)
}

// Before a handshake has been asked for, too.
func TestAbortBeforeTheHandshake(t *testing.T) {
	for _, r := range abortRoles {
		t.Run(r.name, func(t *testing.T) {
			abortNoLeak(t)
			client, server := abortConfigs()
			us, them := abortEnds(t, abortPaths[0], r, client, server, nil)
			heard := abortListen(them)
			if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
				t.Error(err)
			}
			(<-heard).wantAlert(t, 0, tlsstream.AlertInternalError)
			wantAborted(t, "Handshake", us.Handshake(), tlsstream.AlertInternalError)
		})
	}
}

// An engine is aborted between any two of its steps.
func TestEngineAbortInEveryStateOfTheHandshake(t *testing.T) {
	abortNoLeak(t)
	for _, h := range abortHandshakes {
		if h.resume {
			continue
		}
		for _, aborts := range []string{"server", "client"} {
			t.Run(fmt.Sprintf("%s/%s", h.name, aborts), func(t *testing.T) {
				at := 0
				for ; testEngineAbortInHandshake(t, h, aborts, at); at += h.stride {
				}
				if at < 100 {
					t.Errorf("the handshake was complete after %d bytes", at)
				}
			})
		}
	}
}

func testEngineAbortInHandshake(t *testing.T, h abortHandshake, aborts string, at int) bool {
	t.Helper()
	clientConfig, serverConfig := abortConfigs()
	h.change(clientConfig, serverConfig)
	us, them := tlsstream.NewServerEngine(serverConfig), tlsstream.NewClientEngine(clientConfig)
	if aborts == "client" {
		us, them = tlsstream.NewClientEngine(clientConfig), tlsstream.NewServerEngine(serverConfig)
	}
	defer us.Close()
	defer them.Close()
	left := at
	for {
		theirs := them.Handshake()
		left -= abortCarry(t, them, us, left)
		ours := us.Handshake()
		if ours == nil && theirs == nil {
			return false
		}
		if left == 0 && ours == tlsstream.ErrWantRead {
			break
		}
		if ours != nil && ours != tlsstream.ErrWantRead || theirs != nil && theirs != tlsstream.ErrWantRead {
			t.Fatalf("after %d bytes: %v and %v", at, ours, theirs)
		}
		abortCarry(t, us, them, -1)
	}
	if err := us.Abort(tlsstream.AlertInternalError); err != nil {
		t.Errorf("after %d bytes: Abort: %v", at, err)
	}
	abortCarry(t, us, them, -1)
	us.Close()
	err := them.Handshake()
	if err == nil {
		_, err = them.Read(make([]byte, 1))
	}
	var alert *tlsstream.AlertError
	switch {
	case errors.Is(err, tlsstream.ErrWantRead), !errors.As(err, &alert):
		t.Errorf("after %d bytes the peer's error is %v, want an alert", at, err)
	case h.tooEarly(aborts == "client", at):
	case !alert.Remote, alert.Alert != tlsstream.AlertInternalError && !h.tls12:
		t.Errorf("after %d bytes the peer's error is %v, want an alert", at, err)
	}
	return !t.Failed()
}

// abortCarry feeds to an engine at most limit bytes that another has for it, or all if limit is negative.
func abortCarry(t testing.TB, from, to *tlsstream.Engine, limit int) int {
	t.Helper()
	if limit < 0 {
		limit = from.Pending()
	}
	p := make([]byte, min(limit, from.Pending()))
	n, err := from.Take(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.Feed(p[:n]); err != nil {
		t.Fatal(err)
	}
	return n
}
