package tlsstream_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// CloseWrite ends one direction, with close_notify and then with TCP's FIN, and
// the other goes on. Either side may be first.
func TestCloseWriteIsAHalfClose(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "pipe"} {
		for _, first := range []string{"client", "server"} {
			t.Run(network+"/"+first, func(t *testing.T) {
				t.Parallel()
				var a, b net.Conn
				if network == "tcp" {
					a, b = tlstest.TCPPair(t)
				} else {
					a, b = membio.Pipe(wide(1 << 16))
				}
				x, y := tlsstream.Client(a, testCA.ClientConfig()), tlsstream.Server(b, testCA.ServerConfig())
				defer x.Close()
				defer y.Close()
				if err := handshakeBoth(x, y); err != nil {
					t.Fatal(err)
				}
				if first == "server" {
					x, y = y, x
				}
				halfClose(t, x, y)
				want := randomBytes(1, 1<<20)
				sent := make(chan error, 1)
				go func() {
					_, err := y.Write(want)
					sent <- errors.Join(err, y.CloseWrite())
				}()
				got, err := io.ReadAll(x)
				if err := errors.Join(err, <-sent); err != nil {
					t.Fatal(err)
				}
				mustEqual(t, "the other direction", got, want)
			})
		}
	}
}

// halfClose ends x's direction and checks that y sees both ends, of TLS and of TCP.
func halfClose(t *testing.T, x, y *tlsstream.Conn) {
	t.Helper()
	x.Write([]byte("last"))
	for range 2 { // again does nothing
		if err := x.CloseWrite(); err != nil {
			t.Fatalf("CloseWrite: %v", err)
		}
	}
	if got, err := io.ReadAll(y); string(got) != "last" || err != nil {
		t.Fatalf("the peer reads %q, %v", got, err)
	}
	y.NetConn().SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := y.NetConn().Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind close_notify the transport gives %d bytes, %v; want FIN", n, err)
	}
	y.NetConn().SetReadDeadline(time.Time{})
	if _, err := x.Write([]byte("more")); err == nil {
		t.Error("Write after CloseWrite succeeded")
	}
}

// A CloseWrite that times out is called again, and the peer then reads the whole
// stream and its end.
func TestCloseWriteIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := newRequester(t, streamStack, narrowBack)
		client.request(2)
		if _, err := io.ReadFull(server, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		sealed := clog(t, server)
		for range 2 {
			server.SetWriteDeadline(time.Now().Add(time.Second))
			if err := server.CloseWrite(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("CloseWrite: %v", err)
			}
		}
		server.SetWriteDeadline(time.Time{})
		closed := make(chan error, 1)
		go func() { closed <- server.CloseWrite() }()
		got, err := io.ReadAll(client)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "the stream", got, make([]byte, sealed))
		if err := <-closed; err != nil {
			t.Errorf("CloseWrite: %v", err)
		}
		if n, err := client.transport.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("behind close_notify: %d bytes, %v; want FIN", n, err)
		}
	})
}

// CloseWrite, Close and the ticket over transports that have no half-close.
func TestCloseWriteWithoutHalfClose(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	client, server := stockStack.client(a, testCA.ClientConfig()), tlsstream.Server(b, testCA.ServerConfig())
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- server.CloseWrite() }()
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer reads %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("CloseWrite: %v", err)
	}
	go client.Write([]byte("data"))
	if _, err := io.ReadFull(server, make([]byte, 4)); err != nil {
		t.Errorf("Read after CloseWrite: %v", err)
	}
	server.Close()
	client.Close()
}

// CloseWrite and FlushTickets before the handshake: one is an error that changes
// nothing, as with crypto/tls.
func TestEarlyCloseWrite(t *testing.T) {
	t.Parallel()
	client, server := tlsPipe(t)
	got := []bool{client.CloseWrite() != nil, server.CloseWrite() != nil}
	if diff := cmp.Diff([]bool{true, true}, got); diff != "" {
		t.Errorf("errors, -want +got:\n%s", diff)
	}
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	echo(t, client, server)
}
