package tlsstream_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
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
					a, b = tlstest.TCPPair(t)
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

// A lastWords is a transport that returns its last bytes together with the error
// behind them, as io.Reader allows, and must not be read again.
type lastWords struct {
	net.Conn
	err  error // in place of the end of the stream
	over bool
}

var errReadAgain = errors.New("read again after an error")

func (c *lastWords) Read(p []byte) (n int, err error) {
	if c.over {
		return 0, errReadAgain
	}
	for n < len(p) && err == nil {
		var k int
		k, err = c.Conn.Read(p[n:])
		n += k
	}
	if err == io.EOF && c.err != nil {
		err = c.err
	}
	c.over = err != nil
	return n, err
}

// Bytes that come together with an error are read before it is returned.
func TestBytesThatComeWithAnError(t *testing.T) {
	t.Parallel()
	errTransport := errors.New("transport")
	for _, c := range []struct {
		name        string
		closeNotify bool
		err, want   error
	}{
		{"close_notify and EOF", true, nil, io.EOF},
		{"EOF", false, nil, tlsstream.ErrTruncated},
		{"other", false, errTransport, errTransport},
		{"close_notify and other", true, errTransport, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := membio.Pipe(wide(1 << 20))
			transport := &switchable{Conn: b}
			client, server := stockStack.client(a, testCA.ClientConfig()), tlsstream.Server(transport, testCA.ServerConfig())
			defer server.Close()
			if err := handshakeBoth(client, server); err != nil {
				t.Fatal(err)
			}
			want := randomBytes(1, 50_000)
			client.Write(want)
			if c.closeNotify {
				client.CloseWrite()
			}
			a.CloseWrite()
			transport.Conn = &lastWords{Conn: b, err: c.err}
			var got []byte
			p := make([]byte, 10_000)
			var err error
			for err == nil {
				var n int
				n, err = server.Read(p)
				got = append(got, p[:n]...)
			}
			mustEqual(t, "data", got, want)
			if !errors.Is(err, c.want) {
				t.Errorf("Read at the end: %v, want %v", err, c.want)
			}
			a.Close()
		})
	}
}

// A switchable is a transport that can be replaced while nobody uses it.
type switchable struct{ net.Conn }
