package tlsstream_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A server's ticket carries the client's certificates. One of 60 KB does not fit small socket buffers, and a stock
// server whose client writes before it reads waits in its handshake for a reader that waits for it.

const (
	bigUpload = 16 << 20
	bigReply  = 1000
)

// bigTicketRun has a client with a certificate of 60 KB write 16 MiB before it reads. The server's send buffer and the
// client's receive buffer, which the ticket has to go through, are as small as Linux makes them. The other two are not:
// TCP itself carries some 10 KB/s then.
func bigTicketRun(t *testing.T, s stack) peerRun {
	return peerRun{
		stack:   s,
		id:      newIdentity(t, func(ca *tlstest.CA) tls.Certificate { return ca.BigClient("alice", 60<<10) }),
		program: peer(t, "openssl"),
		auth:    true,
		wrap: func(conn *net.TCPConn) net.Conn {
			conn.SetWriteBuffer(1)
			return conn
		},
		options: []string{"-rcvbuf", "1"},
		ops:     fmt.Sprintf("write %d read %d eof", bigUpload, bigReply),
	}
}

func TestBigTicketDoesNotBlockHandshake(t *testing.T) {
	for _, stack := range ourStacks {
		t.Run("stack="+stack.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
			defer cancel()
			start := time.Now()
			server, client := bigTicketRun(t, stack).start(ctx, t)
			conn, err := server.handshake()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("handshake after %v", time.Since(start))
			if n, err := readPattern(conn, bigUpload, nil); err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			t.Logf("upload after %v", time.Since(start))
			if stats, ok := tlsstream.StatsOf(conn); !ok || stats.HeldBytes < 60<<10 {
				t.Errorf("StatsOf = %+v, %v; want a ticket of 60 KB held", stats, ok)
			}
			if _, err := conn.Write(pattern(bigReply)); err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			if err := <-client; err != nil {
				t.Error(err)
			}
			t.Logf("reply after %v", time.Since(start))
		})
	}
}

func TestStockBlocksOnBigTicket(t *testing.T) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, client := bigTicketRun(t, stockStack).start(ctx, t)
	conn, err := server.handshake()
	if err == nil {
		t.Error("blind: the stock handshake returned")
	}
	if ctx.Err() == nil {
		t.Errorf("blind: the stock handshake failed by itself: %v", err)
	}
	<-client
	if conn != nil {
		conn.Close()
	}
}
