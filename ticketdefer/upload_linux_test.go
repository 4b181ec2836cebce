package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// A write-only client over kernel TCP: it has a ClientSessionCache, so it is
// sent a ticket; it writes, closes and never reads. The server reads only when
// it has gone, so what did not fit the server's window is still in the client's
// kernel when unread bytes make that kernel reset the connection.
func TestUploadOfAWriteOnlyClientArrives(t *testing.T) {
	upload := randomBytes(3, 128<<10)
	for _, l := range layers {
		for _, name := range []string{"client certificate", "large ticket"} { // those in a Write of their own
			t.Run(l.name+"/"+name, func(t *testing.T) {
				serverConfig, clientConfig := testCA.ServerConfig(), resumable()
				handshakes[name](serverConfig, clientConfig)
				conn, client := smallWindowPair(t)
				server, _ := l.server(conn, serverConfig)
				tlsClient := tls.Client(client, clientConfig)
				shake(t, server, tlsClient)
				mustWrite(t, tlsClient, upload)
				if err := tlsClient.Close(); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(server)
				whole := err == nil && bytes.Equal(got, upload)
				if whole != l.defers {
					t.Errorf("the server read %d of %d bytes, %v", len(got), len(upload), err)
				}
				server.Close()
			})
		}
	}
}

// smallWindowPair returns a server's end with a small receive buffer, and a
// client's with a send buffer that takes a whole upload.
func smallWindowPair(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	b, a := tcpPairWith(t, func(l *net.TCPListener) {
		raw, err := l.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		setReceiveBuffer(t, raw, 4096) // before the window is announced
	})
	if err := b.SetWriteBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func tcpPairWith(t *testing.T, listening func(*net.TCPListener)) (dialed, accepted *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening(l)
	if dialed, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.AcceptTCP(); err != nil {
		dialed.Close()
		t.Fatal(err)
	}
	for _, c := range []*net.TCPConn{dialed, accepted} {
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(testTimeout))
	}
	return dialed, accepted
}

func setReceiveBuffer(t *testing.T, c syscall.RawConn, n int) {
	t.Helper()
	var err error
	if ctl := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, n)
	}); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
}
