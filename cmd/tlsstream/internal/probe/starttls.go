package probe

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// maxPreamble is the most that a server may say before TLS begins.
const maxPreamble = 16 << 10

var errEndless = errors.New("the server talks without end")

// A protocol is one that asks for TLS in plain text first.
type protocol struct {
	name string
	// preamble asks for TLS, to the point where the ClientHello is due.
	preamble func(c *plain) error
	// first is sent when TLS has begun: something that the server answers, and where there is such a thing, ends upon.
	first func(host string) string
}

var protocols = []protocol{
	{"ftp", ftpPreamble, says("QUIT\r\n")},
	{"smtp", smtpPreamble, says("QUIT\r\n")},
	{"imap", imapPreamble, says("b LOGOUT\r\n")},
	{"pop3", pop3Preamble, says("QUIT\r\n")},
	{"ldap", ldapPreamble, says("\x30\x0c\x02\x01\x02\x60\x07\x02\x01\x03\x04\x00\x80\x00")}, // an anonymous bind (RFC 4511 4.2)
	{"xmpp", xmppPreamble, xmppHeader},
	{"postgres", postgresPreamble, says("\x00\x00\x00\x23\x00\x03\x00\x00user\x00probe\x00database\x00probe\x00\x00")},
}

func says(text string) func(string) string { return func(string) string { return text } }

// StartTLSProtocols are the names that Options.StartTLS takes.
func StartTLSProtocols() []string {
	var names []string
	for _, p := range protocols {
		names = append(names, p.name)
	}
	return names
}

func protocolOf(name string) *protocol {
	for i := range protocols {
		if protocols[i].name == name {
			return &protocols[i]
		}
	}
	return nil
}

// firstBytes is what a client of the protocol might send first; HTTP/1.1 if none is named.
func firstBytes(name, host, port string) []byte {
	if p := protocolOf(name); p != nil {
		return []byte(p.first(host))
	}
	return fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: tlsstream-probe\r\nConnection: close\r\n\r\n", net.JoinHostPort(host, port))
}

// plain is the conversation before TLS.
type plain struct {
	io.ReadWriter
	host string
	said []byte // all that the server said
}

// read reads no byte too many: what follows is TLS's.
func (c *plain) read(n int) (string, error) {
	if len(c.said)+n > maxPreamble {
		return "", errEndless
	}
	b := make([]byte, n)
	n, err := io.ReadFull(c, b)
	c.said = append(c.said, b[:n]...)
	return string(b[:n]), err
}

func (c *plain) readUntil(end string) (string, error) {
	var text strings.Builder
	for !strings.HasSuffix(text.String(), end) {
		b, err := c.read(1)
		if err != nil {
			return text.String(), err
		}
		text.WriteString(b)
	}
	return text.String(), nil
}

func (c *plain) write(text string) error {
	_, err := io.WriteString(c, text)
	return err
}

// expect is for replies that do not begin as they should.
func expect(line, begins string) error {
	if strings.HasPrefix(line, begins) {
		return nil
	}
	return &refusal{line, begins}
}

// A refusal is an answer of the server's that is not the one hoped for.
type refusal struct{ line, want string }

func (r *refusal) Error() string {
	return fmt.Sprintf("the server said %s where %q was due", printable([]byte(r.line)), r.want)
}

// reply reads a reply of FTP or SMTP, over as many lines as it has (RFC 959 4.2, RFC 5321 4.2.1).
func (c *plain) reply(code string) (string, error) {
	var all string
	for {
		line, err := c.readUntil("\n")
		all += line
		if err != nil {
			return all, err
		}
		digits := len(line) > 3 && line[0] >= '0' && line[0] <= '9'
		if len(all) == len(line) && !strings.HasPrefix(line, code) {
			return all, &refusal{line, code}
		}
		if digits && line[3] != '-' || !digits && len(all) == len(line) {
			return all, expect(line, code)
		}
	}
}

func ftpPreamble(c *plain) error {
	if _, err := c.reply("220"); err != nil {
		return err
	}
	if err := c.write("AUTH TLS\r\n"); err != nil {
		return err
	}
	_, err := c.reply("234")
	return err
}

func smtpPreamble(c *plain) error {
	if _, err := c.reply("220"); err != nil {
		return err
	}
	if err := c.write("EHLO probe.invalid\r\n"); err != nil {
		return err
	}
	abilities, err := c.reply("250")
	if err != nil {
		return err
	}
	if !strings.Contains(strings.ToUpper(abilities), "STARTTLS") {
		return errors.New("the server does not offer STARTTLS")
	}
	if err := c.write("STARTTLS\r\n"); err != nil {
		return err
	}
	_, err = c.reply("220")
	return err
}

func imapPreamble(c *plain) error {
	if line, err := c.readUntil("\n"); err != nil || expect(line, "* OK") != nil {
		return errors.Join(err, expect(line, "* OK"))
	}
	if err := c.write("a STARTTLS\r\n"); err != nil {
		return err
	}
	for {
		line, err := c.readUntil("\n")
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, "* ") { // untagged lines may come first (RFC 3501 2.2.2)
			return expect(line, "a OK")
		}
	}
}

func pop3Preamble(c *plain) error {
	for _, say := range []string{"", "STLS\r\n"} {
		if err := c.write(say); err != nil {
			return err
		}
		line, err := c.readUntil("\n")
		if err != nil {
			return err
		}
		if err := expect(line, "+OK"); err != nil {
			return err
		}
	}
	return nil
}

// ldapPreamble sends the extended request StartTLS (RFC 4511 4.14).
func ldapPreamble(c *plain) error {
	const oid = "1.3.6.1.4.1.1466.20037"
	if err := c.write("\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + oid); err != nil {
		return err
	}
	head, err := c.read(2)
	if err != nil {
		return err
	}
	n := int(head[1])
	if head[0] != 0x30 {
		return &refusal{head, "an LDAP message"}
	}
	if n >= 0x80 { // the length has a length
		more, err := c.read(n & 0x7f)
		if err != nil {
			return err
		}
		n = 0
		for _, b := range []byte(more) {
			if n = n<<8 | int(b); n > maxPreamble {
				return errEndless
			}
		}
	}
	body, err := c.read(n)
	if err != nil {
		return err
	}
	// messageID, then extendedResp [APPLICATION 24], in it first the resultCode.
	if i := strings.Index(body, "\x0a\x01"); len(body) < 4 || body[3] != 0x78 || i < 0 || i+2 >= len(body) || body[i+2] != 0 {
		return errors.New("the server refuses StartTLS")
	}
	return nil
}

func xmppHeader(host string) string {
	return "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='" +
		strings.NewReplacer("'", "", "<", "", "&", "").Replace(host) + "' version='1.0'>"
}

// xmppPreamble is RFC 6120 5.4.
func xmppPreamble(c *plain) error {
	if err := c.write(xmppHeader(c.host)); err != nil {
		return err
	}
	features, err := c.readUntil("</stream:features>")
	if err != nil {
		return err
	}
	if !strings.Contains(features, "urn:ietf:params:xml:ns:xmpp-tls") {
		return errors.New("the server does not offer STARTTLS")
	}
	if err := c.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	answer, err := c.readUntil(">")
	if err != nil {
		return err
	}
	return expect(answer, "<proceed")
}

// postgresPreamble sends SSLRequest.
func postgresPreamble(c *plain) error {
	if err := c.write("\x00\x00\x00\x08\x04\xd2\x16\x2f"); err != nil {
		return err
	}
	answer, err := c.read(1)
	if err != nil {
		return err
	}
	return expect(answer, "S")
}
