package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	utls "github.com/refraction-networking/utls"

	"github.com/deferredtls/deferredtls/tlsstream"
)

var (
	withReasons = &tlsstream.Options{Reasons: true}
	noReasons   = &tlsstream.Options{}
)

// reasonPair makes two Conns over TCP, after their handshake.
func reasonPair(t testing.TB, client, server *tlsstream.Options, clientConfig, serverConfig *tls.Config) (c, s *tlsstream.Conn) {
	t.Helper()
	a, b := abortTCP(t)
	c, s = client.Client(a, clientConfig), server.Server(b, serverConfig)
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	abortShake(t, c, s)
	return c, s
}

// reasonFor aborts s with a text and returns what c makes of it.
func reasonFor(t testing.TB, c, s *tlsstream.Conn, text string) (reason string) {
	t.Helper()
	heard := abortListen(c)
	if err := s.AbortWithReason(tlsstream.AlertInternalError, text); err != nil {
		t.Error(err)
	}
	var alert *tlsstream.AlertError
	if h := <-heard; !errors.As(h.err, &alert) || alert.Alert != tlsstream.AlertInternalError || !alert.Remote {
		t.Fatalf("the client's error is %v, want the alert", h.err)
	}
	return alert.Reason
}

// The text arrives, and the user's session cache is as it would be without: a real ticket is in it, which resumes.
func TestReasonArrives(t *testing.T) {
	const text = "the disk of ßtore 7 is full: try again after 18:00"
	serverConfig := abortCA.ServerConfig()
	for _, cache := range []tls.ClientSessionCache{nil, reasonFreeCache{t, text, tls.NewLRUClientSessionCache(4)}} {
		clientConfig := abortCA.ClientConfig()
		clientConfig.ClientSessionCache = cache
		for i, said := range []bool{false, true, false} { // something before the reason
			c, s := reasonPair(t, withReasons, withReasons, clientConfig, serverConfig)
			if got, want := c.ConnectionState().DidResume, cache != nil && i > 0; got != want {
				t.Errorf("connection %d with cache %v: resumed %v, want %v", i, cache != nil, got, want)
			}
			if said {
				if _, err := s.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
			}
			if got := reasonFor(t, c, s, text); got != text {
				t.Errorf("reason %q, want %q", got, text)
			}
		}
	}
}

// A reasonFreeCache fails the test if it is given a reason for a ticket.
type reasonFreeCache struct {
	t    *testing.T
	text string
	tls.ClientSessionCache
}

func (c reasonFreeCache) Put(key string, state *tls.ClientSessionState) {
	if ticket, _, err := state.ResumptionState(); err != nil || bytes.Contains(ticket, []byte(c.text)) {
		c.t.Errorf("the user's cache is given %q, error %v", ticket, err)
	}
	c.ClientSessionCache.Put(key, state)
}

// A client whose Write fails learns it as well.
func TestReasonIsInTheErrorOfAWrite(t *testing.T) {
	atOnce := &tlsstream.Options{Reasons: true, DrainTimeout: -1}
	c, s := reasonPair(t, withReasons, atOnce, abortCA.ClientConfig(), abortCA.ServerConfig())
	if err := s.AbortWithReason(tlsstream.AlertInternalError, "the quota is used up"); err != nil {
		t.Error(err)
	}
	c.SetDeadline(time.Now().Add(abortPatience))
	_, err := io.Copy(c, zeroReader{})
	var alert *tlsstream.AlertError
	if !errors.As(err, &alert) || alert.Reason != "the quota is used up" {
		t.Errorf("Write: %v", err)
	}
	if !strings.Contains(err.Error(), "the quota is used up") {
		t.Errorf("the message does not tell the reason: %v", err)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestReasonIsCutAtARune(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"none":              {"", ""},
		"1024 bytes":        {strings.Repeat("x", 1024), strings.Repeat("x", 1024)},
		"1025 bytes":        {strings.Repeat("x", 1025), strings.Repeat("x", 1024)},
		"runes of 2 bytes":  {"x" + strings.Repeat("ß", 600), "x" + strings.Repeat("ß", 511)},
		"runes of 3 bytes":  {strings.Repeat("€", 400), strings.Repeat("€", 341)},
		"runes of 4 bytes":  {"xyz" + strings.Repeat("𝄞", 300), "xyz" + strings.Repeat("𝄞", 255)},
		"not UTF-8":         {"a\xffb", "a\uFFFDb"},
		"not UTF-8 at 1024": {strings.Repeat("x", 1022) + "\xffabc", strings.Repeat("x", 1022)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, s := reasonPair(t, withReasons, withReasons, abortCA.ClientConfig(), abortCA.ServerConfig())
			got := reasonFor(t, c, s, test.text)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(got) > 1024 || !utf8.ValidString(got) {
				t.Errorf("%d bytes, UTF-8: %v", len(got), utf8.ValidString(got))
			}
		})
	}
}

// Only a server that is asked to tells, only a client that is asked to listens, and not to each other before.
func TestReasonNeedsBothSides(t *testing.T) {
	for _, sides := range [][2]*tlsstream.Options{{noReasons, noReasons}, {noReasons, withReasons}, {withReasons, noReasons}} {
		client, server := abortConfigs()
		c, s := reasonPair(t, sides[0], sides[1], client, server)
		if got := reasonFor(t, c, s, "secret"); got != "" {
			t.Errorf("client %v, server %v: reason %q", sides[0].Reasons, sides[1].Reasons, got)
		}
	}
	c, s := reasonPair(t, withReasons, withReasons, abortCA.ClientConfig(), abortCA.ServerConfig())
	if got := reasonFor(t, s, c, "secret"); got != "" { // clients send no tickets
		t.Errorf("from a client: reason %q", got)
	}
}

// What a server sends after the handshake, in bytes: with no reason, and to a client that must not be sent tickets
// (RFC 8446 4.2.9), the alert alone.
func TestReasonIsNotSentUnlessWanted(t *testing.T) {
	const alert = 5 + 2 + 1 + 16
	tests := []struct {
		name    string
		options *tlsstream.Options
		cache   bool // the client's: with one it offers psk_dhe_ke
		tickets bool // the server's
		text    string
		sent    bool
	}{
		{"all is well", withReasons, true, true, "reason", true},
		{"no text", withReasons, true, true, "", false},
		{"not asked for", noReasons, true, true, "reason", false},
		{"a client that wants no tickets", withReasons, false, true, "reason", false},
		{"a server without tickets", withReasons, true, false, "reason", true},
		{"neither has tickets", withReasons, false, false, "reason", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, server := abortConfigs()
			if !test.cache {
				client.ClientSessionCache = nil
			}
			server.SessionTicketsDisabled = !test.tickets
			var valve *abortValve
			us, them := abortPair(t, abortStream(*test.options), abortRoles[0], client, server, func(c *net.TCPConn) net.Conn {
				valve = newAbortValve(c, -1, -1)
				return valve
			})
			if err := us.(*tlsstream.Conn).FlushTickets(); err != nil {
				t.Fatal(err)
			}
			before := valve.out.count()
			heard := abortListen(them)
			if err := us.(*tlsstream.Conn).AbortWithReason(tlsstream.AlertInternalError, test.text); err != nil {
				t.Error(err)
			}
			(<-heard).wantAlert(t, 0, tlsstream.AlertInternalError)
			if sent := valve.out.count() - before; (sent > alert) != test.sent || sent < alert {
				t.Errorf("%d bytes after the handshake, of which %d are the alert", sent, alert)
			}
		})
	}
}

// A client that resumes with psk_ke alone has no use for the tickets of crypto/tls, whose server sends it none.
func TestReasonIsNotSentToAClientThatTakesNoTickets(t *testing.T) {
	spec := func(modes ...uint8) *utls.ClientHelloSpec {
		return &utls.ClientHelloSpec{
			CipherSuites:       []uint16{utls.TLS_AES_128_GCM_SHA256},
			CompressionMethods: []uint8{0},
			Extensions: []utls.TLSExtension{
				&utls.SNIExtension{},
				&utls.SupportedVersionsExtension{Versions: []uint16{utls.VersionTLS13}},
				&utls.SupportedCurvesExtension{Curves: []utls.CurveID{utls.X25519}},
				&utls.KeyShareExtension{KeyShares: []utls.KeyShare{{Group: utls.X25519}}},
				&utls.SignatureAlgorithmsExtension{SupportedSignatureAlgorithms: []utls.SignatureScheme{utls.ECDSAWithP256AndSHA256}},
				&utls.PSKKeyExchangeModesExtension{Modes: modes},
			},
		}
	}
	const pskKE, pskDHEKE = 0, 1
	for _, test := range []struct {
		hello *utls.ClientHelloSpec
		sent  bool
	}{
		{spec(pskKE), false},
		{spec(pskKE, pskDHEKE), true}, // the control
	} {
		a, b := abortTCP(t)
		valve := newAbortValve(b, -1, -1)
		atOnce := &tlsstream.Options{Reasons: true, DrainTimeout: -1}
		server := atOnce.Server(valve, abortCA.ServerConfig())
		client := utls.UClient(a, &utls.Config{RootCAs: abortCA.Pool(), ServerName: "localhost"}, utls.HelloCustom)
		if err := client.ApplyPreset(test.hello); err != nil {
			t.Fatal(err)
		}
		shaken := make(chan error, 1)
		go func() { shaken <- client.Handshake() }()
		if err := errors.Join(server.Handshake(), <-shaken, server.FlushTickets()); err != nil {
			t.Fatal(err)
		}
		before := valve.out.count()
		if err := server.AbortWithReason(tlsstream.AlertInternalError, "the disk is full"); err != nil {
			t.Error(err)
		}
		const alert = 5 + 2 + 1 + 16
		if sent := valve.out.count() - before; (sent > alert) != test.sent || sent < alert {
			t.Errorf("%d bytes after the handshake, of which %d are the alert; want more: %v", sent, alert, test.sent)
		}
	}
}

// Streams that share a configuration, and with it a session cache, have each their own reason.
func TestReasonIsThatOfItsConnection(t *testing.T) {
	clientConfig, serverConfig := abortConfigs()
	var clients, servers []*tlsstream.Conn
	texts := []string{"first", "second", ""}
	for range texts {
		c, s := reasonPair(t, withReasons, withReasons, clientConfig, serverConfig)
		clients, servers = append(clients, c), append(servers, s)
	}
	for i, text := range texts {
		if got := reasonFor(t, clients[i], servers[i], text); got != text {
			t.Errorf("reason %q, want %q", got, text)
		}
	}
}

// The user's hooks are called as without reasons.
func TestReasonsLeaveTheHooks(t *testing.T) {
	for _, chosen := range []bool{false, true} {
		clientConfig, serverConfig := abortConfigs()
		var calls []string
		hooks := serverConfig.Clone()
		hooks.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
			calls = append(calls, "WrapSession")
			return hooks.EncryptTicket(state, session)
		}
		hooks.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
			calls = append(calls, "UnwrapSession")
			return hooks.DecryptTicket(ticket, state)
		}
		base := serverConfig
		base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			calls = append(calls, "GetConfigForClient")
			return hooks, nil
		}
		want := []string{"GetConfigForClient", "WrapSession", "GetConfigForClient", "UnwrapSession", "WrapSession"}
		if !chosen {
			base = hooks
			want = []string{"WrapSession", "UnwrapSession", "WrapSession"}
		}
		for i := range 2 {
			c, s := reasonPair(t, noReasons, withReasons, clientConfig, base)
			if got := c.ConnectionState().DidResume; got != (i > 0) {
				t.Errorf("connection %d resumed: %v", i, got)
			}
			reasonFor(t, c, s, "the reason does not get in the way")
		}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// Engines carry reasons too. One after TLS 1.2, and one in the handshake, have no way to.
func TestEngineReason(t *testing.T) {
	for version, want := range map[uint16]string{tls.VersionTLS13: "because", tls.VersionTLS12: ""} {
		clientConfig, serverConfig := abortConfigs()
		clientConfig.MaxVersion = version
		client, server := abortEngines(t, *withReasons, clientConfig, serverConfig)
		if err := server.AbortWithReason(tlsstream.AlertAccessDenied, "because"); err != nil {
			t.Error(err)
		}
		abortCarry(t, server, client, -1)
		var alert *tlsstream.AlertError
		if _, err := readEngine(client); !errors.As(err, &alert) || alert.Reason != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// After Abort this side's own errors say why it did so.
func TestReasonIsInThisSidesErrors(t *testing.T) {
	c, s := reasonPair(t, withReasons, withReasons, abortCA.ClientConfig(), abortCA.ServerConfig())
	reasonFor(t, c, s, "out of ink")
	_, err := s.Write([]byte("late"))
	var alert *tlsstream.AlertError
	if !errors.As(err, &alert) || alert.Remote || alert.Reason != "out of ink" {
		t.Errorf("Write: %v", err)
	}
}
