package tlsstream_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A bare FIN is ErrTruncated, close_notify is io.EOF, and the data before is read
// in both cases.
func TestTruncationIsVisible(t *testing.T) {
	t.Parallel()
	closeNotify := func(c secureConn) { c.CloseWrite() }
	fin := func(c secureConn) { c.NetConn().(interface{ CloseWrite() error }).CloseWrite() }
	half := func(c secureConn) {
		c.NetConn().Write([]byte{typeData, 3, 3, 0, 100, 1, 2, 3}) // the beginning of a record
		fin(c)
	}
	for _, c := range []struct {
		name  string
		allow bool
		end   func(secureConn)
		want  error
	}{
		{"close_notify", false, closeNotify, io.EOF},
		{"close_notify and FIN", false, func(c secureConn) { closeNotify(c); fin(c) }, io.EOF},
		{"FIN", false, fin, tlsstream.ErrTruncated},
		{"FIN, allowed", true, fin, io.EOF},
		{"FIN inside a record", false, half, tlsstream.ErrTruncated},
		{"FIN inside a record, allowed", true, half, tlsstream.ErrTruncated},
	} {
		for _, network := range []string{"tcp", "pipe"} {
			t.Run(fmt.Sprintf("%s/%s", network, c.name), func(t *testing.T) {
				t.Parallel()
				var a, b net.Conn
				if network == "tcp" {
					a, b = tcpEnds(t)
				} else {
					a, b = membio.Pipe(wide(1 << 20))
				}
				client := stockStack.client(a, testCA.ClientConfig())
				server := (&tlsstream.Options{AllowTruncation: c.allow}).Server(b, testCA.ServerConfig())
				defer a.Close()
				defer server.Close()
				if err := handshakeBoth(client, server); err != nil {
					t.Fatal(err)
				}
				want := randomBytes(1, 50_000)
				client.Write(want)
				c.end(client)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(server, got); err != nil {
					t.Fatal(err)
				}
				mustEqual(t, "data", got, want)
				for range 2 {
					if n, err := server.Read(got); n != 0 || err != c.want {
						t.Errorf("Read at the end: %d, %v; want %v", n, err, c.want)
					}
				}
				if _, err := server.Write([]byte("still")); err != nil {
					t.Errorf("Write after the peer's end: %v", err)
				}
			})
		}
	}
}

// On the *tls.Conn path the rule is that of crypto/tls: this is also the control.
func TestTruncationIsStockOnTheListenerPath(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{listenerStack, stockStack} {
		a, b := membio.Pipe(wide(1 << 20))
		client, server := stockStack.client(a, testCA.ClientConfig()), s.server(b, testCA.ServerConfig())
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		client.Write([]byte("data"))
		a.CloseWrite()
		if got, err := io.ReadAll(server); string(got) != "data" || err != nil {
			t.Errorf("%s: read %q, %v", s.name, got, err)
		}
		server.Close()
		a.Close()
	}
}

// io.Copy and io.ReadAll must fail on a truncated stream.
func TestCopyOfATruncatedStreamFails(t *testing.T) {
	t.Parallel()
	a, b := membio.Pipe(wide(1 << 20))
	client, server := tlsstream.Client(a, testCA.ClientConfig()), tlsstream.Server(b, testCA.ServerConfig())
	defer server.Close()
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	client.Write([]byte("data"))
	a.CloseWrite()
	n, err := io.Copy(io.Discard, server)
	if n != 4 || !errors.Is(err, io.ErrUnexpectedEOF) || err != tlsstream.ErrTruncated {
		t.Errorf("io.Copy: %d, %v", n, err)
	}
	client.Close()
}
