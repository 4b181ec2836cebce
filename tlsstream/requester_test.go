package tlsstream_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A requester is a client that asks for key updates. crypto/tls has made its
// handshake and reads; what it sends is sealed here.
type requester struct {
	*tls.Conn
	t         testing.TB
	transport net.Conn
	out       *ticketdefer.Epoch
}

// newRequester makes a requester and a server of the stack under test, after the
// handshake, over a pipe. It may be called in a testing/synctest bubble.
func newRequester(t testing.TB, s stack, o membio.PipeOptions) (*requester, secureConn) {
	t.Helper()
	var log keyLog
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	clientConfig.KeyLogWriter = &log
	a, b := membio.Pipe(o)
	r := &requester{Conn: tls.Client(a, clientConfig), t: t, transport: a}
	server := s.server(b, serverConfig)
	t.Cleanup(func() {
		a.Close()
		server.Close()
	})
	if err := handshakeBoth(r.Conn, server); err != nil {
		t.Fatal(err)
	}
	r.out = log.epoch(t, "CLIENT", r.ConnectionState())
	return r, server
}

// request sends n times a KeyUpdate(update_requested) and one byte, the number of
// the request. It stops at the first error: the server may close.
func (r *requester) request(n int) {
	r.t.Helper()
	for i := range n {
		if _, err := r.transport.Write(r.out.Seal(sealKeyUpdate(r.t, r.out, nil), typeData, []byte{byte(i)})); err != nil {
			return
		}
	}
}

// requested is the data that n requests come with.
func requested(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}
