package tlsstream_test

import (
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// crypto/tls gives up on a server that sends more than 16 records in a row without data, tickets or key updates. A
// client that has written all, and closes, must not cost the server what it has not read yet.
func TestCloseDrainsWhatCryptoTLSRefusesToRead(t *testing.T) {
	const size = 1 << 20
	client, server := ticketConfigs()
	var log keyLog
	server.KeyLogWriter = &log
	server.SessionTicketsDisabled = true // the sequence numbers are the test's
	c, s := tlstest.TCPPair(t)
	c.SetWriteBuffer(2 * size)
	s.SetReadBuffer(32 << 10)

	conn := tlsstream.Client(c, client)
	peer := tls.Server(s, server)
	if err := handshakeBoth(conn, peer); err != nil {
		t.Fatal(err)
	}
	keys := log.epoch(t, "SERVER", peer.ConnectionState())
	var updates []byte
	for range 5000 {
		updates = sealKeyUpdate(t, keys, updates)
	}
	go s.Write(updates) // some before Close, and some while it drains

	type end struct {
		n   int64
		err error
	}
	received := make(chan end, 1)
	go func() {
		var got end
		for got.err == nil {
			var n int64
			n, got.err = io.CopyN(io.Discard, peer, 64<<10)
			got.n += n
			time.Sleep(5 * time.Millisecond) // a slow sink is the point: its client is done first
		}
		s.Close()
		received <- got
	}()
	if n, err := conn.Write(make([]byte, size)); n != size || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
	conn.Close()
	if got := <-received; got.n != size || got.err != io.EOF {
		t.Errorf("the server read %d of %d bytes, then %v", got.n, size, got.err)
	}
}
