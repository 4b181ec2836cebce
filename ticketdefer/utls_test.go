package ticketdefer

import (
	"errors"
	"net"
	"testing"

	utls "github.com/refraction-networking/utls"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A fork of crypto/tls is deferred with its own Config type.
func TestUTLSClientIsDeferred(t *testing.T) {
	for _, id := range []utls.ClientHelloID{utls.HelloGolang, utls.HelloChrome_Auto, utls.HelloFirefox_Auto} {
		t.Run(id.Str(), func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			wire := &recorder{Conn: a}
			conn := WrapConn(wire)
			client := utls.UClient(conn, &utls.Config{
				RootCAs: testCA.Pool(), ServerName: "localhost", KeyLogWriter: KeyLogWriter(nil),
			}, id)
			p := newPuppetServer(t, client, b, testCA.ServerConfig())
			wire.take()
			flood(t, p, client, 3)
			mustEqual(t, "writes", 0, len(wire.take()))
			mustWrite(t, client, []byte("request"))
			p.expect(t, "request")
			mustEqual(t, "updates", 3, p.updates)
			mustEqual(t, "writes", 1, len(wire.take()))
			flood(t, p, client, 100)
			mustWrite(t, client, []byte("request"))
			mustWrite(t, client, []byte("another"))
			p.expect(t, "requestanother")
			mustEqual(t, "deferral", DeferralOn.String(), conn.Stats().Deferral.String())
			if err := client.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
	}
}
