package tlsstream_test

import (
	"net"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A glue holds back what ends the handshake until the next Write: both arrive as one.
type glue struct {
	net.Conn
	writes int
	held   []byte
}

func (g *glue) Write(p []byte) (int, error) {
	g.held = append(g.held, p...)
	if g.writes++; g.writes == 2 {
		return len(p), nil
	}
	_, err := g.Conn.Write(g.held)
	g.held = nil
	return len(p), err
}

// Nor does a Read hold a buffer as it waits where the first data came along with the end of
// the handshake, as it does from clients that speak first.
func TestOwnRecordsWaitWithoutABufferBehindAFastClient(t *testing.T) {
	const n = 40
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	cheap(clientConfig, serverConfig)
	var calls sync.WaitGroup
	bytes, _ := heapOf(func() func() {
		var conns []secureConn
		for range n {
			x, y := tlstest.TCPPair(t)
			client, server := tlsstream.Client(&glue{Conn: x}, clientConfig), ownStack.server(y, serverConfig)
			var shaken sync.WaitGroup
			shaken.Go(func() {
				if _, err := server.Read(make([]byte, 1)); err != nil {
					t.Error(err)
				}
			})
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			shaken.Wait()
			calls.Go(func() { server.Read(make([]byte, 1)) })
			conns = append(conns, client, server)
		}
		awaitGoroutines(t, "internal/poll.(*pollDesc).waitRead", n)
		return func() {
			for _, c := range conns {
				c.NetConn().Close()
				c.Close()
			}
			calls.Wait()
		}
	})
	per := bytes / (2 * n)
	t.Logf("%d bytes of heap for an endpoint, of which half are blocked in Read", per)
	if per > 11<<10 { // it would be 9 KiB more with a buffer in each Read
		t.Errorf("%d bytes of heap for an endpoint", per)
	}
}
