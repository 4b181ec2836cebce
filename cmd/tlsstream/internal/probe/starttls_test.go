package probe

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A line of a conversation: what the client says, in full or up to its end, and what the server replies. An empty
// client is for servers that speak first.
type line struct{ client, server string }

// converse plays the server's side of a conversation.
func converse(t *testing.T, c net.Conn, lines []line) bool {
	in := bufio.NewReaderSize(c, 16)
	for _, l := range lines {
		var said strings.Builder
		for l.client != "" && !strings.HasSuffix(said.String(), l.client) {
			b, err := in.ReadByte()
			if err != nil {
				t.Errorf("the client said %q, want %q: %v", said.String(), l.client, err)
				return false
			}
			said.WriteByte(b)
		}
		if _, err := io.WriteString(c, l.server); err != nil {
			return false
		}
	}
	if in.Buffered() > 0 {
		t.Error("the client did not wait for the reply")
	}
	return true
}

const (
	ldapRequest  = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
	ldapAccepts  = "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
	ldapRefuses  = "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"
	ldapLong     = "\x30\x84\x00\x00\x00\x0c" + "\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00" // as Active Directory has it
	sslRequest   = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	xmppFeatures = "<?xml version='1.0'?><stream:stream><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
)

func TestStartTLS(t *testing.T) {
	for _, test := range []struct {
		name, protocol string
		lines          []line
		asks           string // the first bytes under TLS
	}{
		{"ftp", "ftp", []line{{"", "220 ready\r\n"}, {"AUTH TLS\r\n", "234 go on\r\n"}}, "QUIT\r\n"},
		{"ftp in many lines", "ftp", []line{{"", "220-welcome\r\n 220 not the last\r\n220-nor this\r\n220 ready\r\n"}, {"AUTH TLS\r\n", "234 go on\r\n"}}, "QUIT\r\n"},
		{"smtp", "smtp", []line{{"", "220 mail ESMTP\r\n"}, {"EHLO probe.invalid\r\n", "250-mail\r\n250-SIZE\r\n250 STARTTLS\r\n"}, {"STARTTLS\r\n", "220 go on\r\n"}}, "QUIT\r\n"},
		{"imap", "imap", []line{{"", "* OK ready\r\n"}, {"a STARTTLS\r\n", "* CAPABILITY IMAP4rev1\r\na OK go on\r\n"}}, "b LOGOUT\r\n"},
		{"pop3", "pop3", []line{{"", "+OK ready\r\n"}, {"STLS\r\n", "+OK go on\r\n"}}, "QUIT\r\n"},
		{"ldap", "ldap", []line{{ldapRequest, ldapAccepts}}, "\x02\x60\x07\x02\x01\x03\x04\x00\x80\x00"},
		{"ldap, length of a length", "ldap", []line{{ldapRequest, ldapLong}}, "\x80\x00"},
		{"xmpp", "xmpp", []line{{"version='1.0'>", xmppFeatures}, {"xmpp-tls'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}}, "version='1.0'>"},
		{"postgres", "postgres", []line{{sslRequest, "S"}}, "database\x00probe\x00\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := testCA.ServerConfig()
			asked := make(chan string, 8)
			address := serve(t, listen(t), func(c net.Conn) {
				if !converse(t, c, test.lines) {
					return
				}
				c = tls.Server(c, config)
				b := make([]byte, 256)
				n, _ := c.Read(b)
				asked <- string(b[:n])
				io.WriteString(c, "ProFTPD says good bye\r\n")
				c.Close()
			})
			r := probe(t, Options{Address: address, StartTLS: test.protocol})
			truth{Software: "ProFTPD", Tickets: 1, Unasked: 1, When: FirstFlight, KeyUpdate: AtOnce, Resumes: ResumptionYes,
				Uploads: Unsafe, Logs: Unsafe, HTTP: NotApplicable}.check(t, r)
			if got := <-asked; !strings.HasSuffix(got, test.asks) {
				t.Errorf("asked %q, want %q", got, test.asks)
			}
		})
	}
}

func TestStartTLSRefused(t *testing.T) {
	endless := strings.Repeat("220-more\r\n", maxPreamble)
	for _, test := range []struct {
		protocol string
		lines    []line
		says     string
	}{
		{"ftp", []line{{"", "421 full\r\n"}}, `the server said "421 full" where "220" was due`},
		{"ftp", []line{{"", "220 ready\r\n"}, {"AUTH TLS\r\n", "502 no\r\n"}}, `"502 no"`},
		{"ftp", []line{{"", endless}}, "without end"},
		{"ftp", []line{{"", "\x1b[31m\r\n"}}, `"\x1b[31m"`},
		{"smtp", []line{{"", "220 mail\r\n"}, {"EHLO probe.invalid\r\n", "250 mail\r\n"}}, "does not offer STARTTLS"},
		{"smtp", []line{{"", "220 mail\r\n"}, {"EHLO probe.invalid\r\n", "250 STARTTLS\r\n"}, {"STARTTLS\r\n", "454 not now\r\n"}}, `"454 not now"`},
		{"imap", []line{{"", "* BYE full\r\n"}}, `"* BYE full"`},
		{"imap", []line{{"", "* OK ready\r\n"}, {"a STARTTLS\r\n", "a BAD what\r\n"}}, `"a BAD what"`},
		{"pop3", []line{{"", "+OK\r\n"}, {"STLS\r\n", "-ERR what\r\n"}}, `"-ERR what"`},
		{"ldap", []line{{ldapRequest, ldapRefuses}}, "refuses StartTLS"},
		{"ldap", []line{{ldapRequest, "\x30\x84\xff\xff\xff\xff"}}, "without end"},
		{"ldap", []line{{ldapRequest, "HTTP/1.1 400 Bad Request\r\n"}}, `"HT"`},
		{"xmpp", []line{{"version='1.0'>", "<stream:features></stream:features>"}}, "does not offer STARTTLS"},
		{"xmpp", []line{{"version='1.0'>", xmppFeatures}, {"xmpp-tls'/>", "<failure/>"}}, `"<failure/>"`},
		{"postgres", []line{{sslRequest, "N"}}, `"N"`},
	} {
		t.Run(test.protocol+" "+test.says, func(t *testing.T) {
			address := serve(t, listen(t), func(c net.Conn) {
				if converse(t, c, test.lines) {
					swallow(c)
				}
			})
			_, err := Run(t.Context(), Options{Address: address, StartTLS: test.protocol, Timeout: testTimeout})
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Class != NotTLS || e.Side != "server" || e.Stage != stagePreamble || !strings.Contains(e.Error(), test.says) ||
				!strings.Contains(e.Hint, test.protocol) {
				t.Errorf("error %v, want %s", err, test.says)
			}
		})
	}
	t.Run("TLS from the start", func(t *testing.T) {
		address := serve(t, tls.NewListener(listen(t), testCA.ServerConfig()), swallow)
		_, err := Run(t.Context(), Options{Address: address, StartTLS: "ftp", Timeout: time.Second})
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(e.Hint, "leave out --starttls") {
			t.Errorf("error %v", err)
		}
	})
}
