package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Servers that cannot be probed: each has a class, and so an exit status, a side, a stage, and a hint that helps.
func TestServersThatCannotBeProbed(t *testing.T) {
	closed := func(t *testing.T) string { return "127.0.0.1:" + freePort(t) }
	says := func(banner string) func(*testing.T) string {
		return func(t *testing.T) string {
			return serve(t, listen(t), func(c net.Conn) {
				io.WriteString(c, banner)
				swallow(c)
			})
		}
	}
	tlsServer := func(change func(*tls.Config)) func(*testing.T) string {
		return func(t *testing.T) string {
			config := testCA.ServerConfig()
			change(config)
			return serve(t, tls.NewListener(listen(t), config), swallow)
		}
	}
	plainHTTP := func(t *testing.T) string { return serveHTTP(t, listen(t)) }
	for _, test := range []struct {
		name    string
		server  func(*testing.T) string
		options Options
		class   Class
		side    string
		stage   string
		says    string
		hint    string
	}{
		{"a closed port", closed, Options{}, Unreachable, "server", stageConnect, "connection refused", "nothing listens there"},
		{"a name that is none", func(*testing.T) string { return "name.invalid:443" }, Options{}, Unreachable, "", stageConnect, "lookup", ""},
		{"an HTTP server", plainHTTP, Options{}, NotTLS, "server", stageHandshake, `"HTTP/1.1 400 Bad Request"`, "plain HTTP port"},
		{"an SMTP server", says("220 mail ready\r\n"), Options{}, NotTLS, "server", stageHandshake, `"220 mail ready"`, "--starttls smtp"},
		{"an SMTP server, Chrome", says("220 mail ready\r\n"), Options{Fingerprint: "chrome"}, NotTLS, "server", stageHandshake, `"220 mail ready"`, "--starttls smtp"},
		{"an IMAP server", says("* OK ready\r\n"), Options{}, NotTLS, "server", stageHandshake, `"* OK ready"`, "--starttls imap"},
		{"one that says escapes", says("\x1b[31mred\n"), Options{}, NotTLS, "server", stageHandshake, `"\x1b[31mred"`, "--starttls"},
		{"one that hangs", says(""), Options{Timeout: time.Second}, Silent, "server", stageHandshake, "no answer to the ClientHello", "--timeout"},
		{"one that stops in the handshake", says("\x16\x03\x03\x00\x7a"), Options{Timeout: time.Second}, Silent, "server", stageHandshake, "in the middle of the handshake", "--timeout"},
		{"one that hangs, Firefox", says(""), Options{Timeout: time.Second, Fingerprint: "firefox"}, Silent, "server", stageHandshake, "no answer to the ClientHello", "--timeout"},
		{"one that hangs before STARTTLS", says(""), Options{Timeout: time.Second, StartTLS: "ftp"}, Silent, "server", stagePreamble, "no answer in time", "leave out --starttls"},
		{"one that hangs up", func(t *testing.T) string { return serve(t, listen(t), func(net.Conn) {}) }, Options{}, NotTLS, "server", stageHandshake, "closed the connection on the ClientHello", "--starttls"},
		{"TLS 1.2", tlsServer(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), Options{}, OldTLS, "server", stageHandshake, "TLS 1.2", "inside the handshake"},
		{"TLS 1.2, Safari", tlsServer(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), Options{Fingerprint: "safari"}, OldTLS, "server", stageHandshake, "TLS 1.2", "inside the handshake"},
		{"another name", tlsServer(func(*tls.Config) {}), Options{ServerName: "other.example"}, BadCertificate, "server", stageHandshake, "not other.example", "--insecure"},
		{"another name, Chrome", tlsServer(func(*tls.Config) {}), Options{ServerName: "other.example", Fingerprint: "chrome"}, BadCertificate, "server", stageHandshake, "not other.example", "--insecure"},
		{"another authority", tlsServer(func(c *tls.Config) { c.Certificates = otherCA.ServerConfig().Certificates }), Options{}, BadCertificate, "server", stageHandshake, "unknown authority", "--ca"},
		{"no protocol in common", tlsServer(func(c *tls.Config) { c.NextProtos = []string{"syslog"} }), Options{}, NotTLS, "server", stageHandshake, "no application protocol", "--alpn"},
		{"a client certificate that is missing", tlsServer(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), Options{}, NotTLS, "server", stageWatch, "certificate_required", "--client-cert"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := test.options
			o.Address, o.Roots = test.server(t), testCA.Pool()
			start := time.Now()
			r, err := Run(t.Context(), o)
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			if test.side == "" { // a machine without a resolver says something else
				e.Side = ""
			}
			equal(t, Error{Class: test.class, Side: test.side, Stage: test.stage}, Error{Class: e.Class, Side: e.Side, Stage: e.Stage})
			if !strings.Contains(e.Error(), test.says) || !strings.Contains(e.Hint, test.hint) {
				t.Errorf("error %q, hint %q; want %q, %q", e.Error(), e.Hint, test.says, test.hint)
			}
			if strings.ContainsAny(e.Error()+e.Hint, "\x1b\n") {
				t.Errorf("not fit to print: %q, %q", e.Error(), e.Hint)
			}
			if o.Timeout > 0 && time.Since(start) > o.Timeout+testWait {
				t.Errorf("took %v", time.Since(start))
			}
			if r == nil || r.Address != o.Address {
				t.Errorf("report %+v", r)
			}
		})
	}
}

// A server that hangs after the handshake is one that writes nothing: that is for the probe to find out, in time.
func TestTimeoutBoundsTheWholeProbe(t *testing.T) {
	config := testCA.ServerConfig()
	config.SessionTicketsDisabled = true
	address := serve(t, tls.NewListener(listen(t), config), swallow)
	start := time.Now()
	_, err := Run(t.Context(), Options{Address: address, Roots: testCA.Pool(), Wait: testTimeout, Timeout: time.Second})
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Class != Silent || e.Side != "client" || e.Stage != stageWatch {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestInterruptEndsTheProbe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := serve(t, listen(t), func(c net.Conn) {
		c.Read(make([]byte, 1))
		cancel()
		swallow(c)
	})
	_, err := Run(ctx, Options{Address: address})
	if e, ok := errors.AsType[*Error](err); !ok || e.Class != Interrupted {
		t.Errorf("error %v", err)
	}
}

func TestOptionsThatCannotBeUsed(t *testing.T) {
	for _, o := range []Options{
		{}, {Address: "localhost"}, {Address: ":443"}, {Address: "localhost:"},
		{Address: "a:1", Fingerprint: "netscape"}, {Address: "a:1", StartTLS: "gopher"},
		{Address: "a:1", Wait: -1}, {Address: "a:1", Timeout: -1},
	} {
		_, err := Run(t.Context(), o)
		if e, ok := errors.AsType[*OptionError](err); !ok || e.Problem == "" || e.Hint == "" {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}

// One that is gone after the first connection, such as a server that lets each address in once, leaves the rest unknown.
func TestServerThatIsGoneIsUnknown(t *testing.T) {
	config := testCA.ServerConfig()
	config.SessionTicketsDisabled = true
	l := listen(t)
	address := serve(t, tls.NewListener(l, config), func(c net.Conn) {
		if c.(*tls.Conn).Handshake() == nil {
			l.Close()
		}
		swallow(c)
	})
	r := probe(t, Options{Address: address})
	equal(t, Untold, r.KeyUpdate.Answer)
	equal(t, UnknownSafety, r.Safety())
	if !strings.Contains(r.KeyUpdate.Note, "connection refused") {
		t.Errorf("note %q", r.KeyUpdate.Note)
	}
	equal(t, EndUntold, r.Truncation.Ending)
}
