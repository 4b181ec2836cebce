package ftpd

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A rawClient is an FTPS client whose every step a test chooses.
type rawClient struct {
	t      testing.TB
	conn   *tls.Conn
	text   *textproto.Conn
	config *tls.Config
}

const rawTimeout = 20 * time.Second

// dialRawWith connects and begins TLS. It does not log in.
func dialRawWith(t testing.TB, s *testServer, cache tls.ClientSessionCache) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", s.explicit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(rawTimeout))
	c := &rawClient{t: t, text: textproto.NewConn(conn)}
	c.config = ticketdefer.WrapConfig(s.ca.ClientConfig())
	c.config.ClientSessionCache = cache
	c.config.DynamicRecordSizingDisabled = true
	c.expect(220)
	c.command(234, "AUTH TLS")
	c.startTLS(conn)
	return c
}

func (c *rawClient) startTLS(conn net.Conn) {
	c.conn = tls.Client(conn, c.config)
	c.text = textproto.NewConn(c.conn)
}

// tls is TLS over a data connection. Our layer is below it, so that it can send
// alerts.
func (c *rawClient) tls(raw net.Conn) *tls.Conn {
	return tls.Client(ticketdefer.WrapConn(raw), c.config)
}

// loginRaw is a client that has logged in and protects its data.
func loginRaw(t testing.TB, s *testServer) *rawClient {
	t.Helper()
	return loginRawWith(t, s, tls.NewLRUClientSessionCache(0))
}

func loginRawWith(t testing.TB, s *testServer, cache tls.ClientSessionCache) *rawClient {
	t.Helper()
	c := dialRawWith(t, s, cache)
	c.command(331, "USER %s", testUser)
	c.command(230, "PASS %s", testPassword)
	c.command(200, "PBSZ 0")
	c.command(200, "PROT P")
	return c
}

func (c *rawClient) command(code int, format string, args ...any) string {
	c.t.Helper()
	if err := c.text.PrintfLine(format, args...); err != nil {
		c.t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
	return c.expect(code)
}

func (c *rawClient) expect(code int) string {
	c.t.Helper()
	got, message, err := c.text.ReadResponse(0)
	if err != nil || got != code {
		c.t.Fatalf("reply %d %s, %v; want %d", got, message, err, code)
	}
	return message
}

// passive opens a data connection, without TLS so far.
func (c *rawClient) passive() *net.TCPConn {
	c.t.Helper()
	message := c.command(229, "EPSV")
	_, port, _ := strings.Cut(message, "(|||")
	port, _, _ = strings.Cut(port, "|")
	return c.dialRawData(net.JoinHostPort("127.0.0.1", port))
}

func (c *rawClient) dialRawData(address string) *net.TCPConn {
	c.t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(rawTimeout))
	return conn.(*net.TCPConn)
}

func (c *rawClient) dialData(address string) *tls.Conn { return c.tls(c.dialRawData(address)) }

// store begins an upload and returns its data connection.
func (c *rawClient) store(name string) (*tls.Conn, *net.TCPConn) {
	c.t.Helper()
	raw := c.passive()
	if err := c.text.PrintfLine("STOR %s", name); err != nil {
		c.t.Fatal(err)
	}
	data := c.tls(raw)
	c.expect(150)
	if err := data.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return data, raw
}
