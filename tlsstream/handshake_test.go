package tlsstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A handshake that runs into a deadline, in either direction and at any byte, goes
// on where it was when it is called again.
func TestHandshakeGoesOnAfterADeadline(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"client", "server"} {
		for _, bytes := range []int{1, 3, 10, 100, 333} {
			clientConfig, serverConfig := ticketConfigs()
			mutual(clientConfig, serverConfig)
			a, b := membio.Pipe(wide(1 << 20))
			m := newMiser(a)
			ours, peer := streamStack.client(m, clientConfig), stockStack.server(b, serverConfig)
			if role == "server" {
				ours, peer = streamStack.server(m, serverConfig), stockStack.client(b, clientConfig)
			}
			m.set(bytes, bytes, bytes)
			done := make(chan error, 1)
			go func() { done <- peer.Handshake() }()
			timeouts := 0
			for {
				err := ours.Handshake()
				if err == nil {
					break
				}
				var timeout net.Error
				if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
					t.Fatalf("%s, %d bytes: %v", role, bytes, err)
				}
				timeouts++
			}
			if err := <-done; err != nil {
				t.Fatalf("%s, %d bytes: the peer: %v", role, bytes, err)
			}
			if timeouts < 600/bytes {
				t.Errorf("%s, %d bytes: only %d timeouts", role, bytes, timeouts)
			}
			m.set(-1, -1, -1)
			if _, err := ours.Write([]byte("data")); err != nil {
				t.Errorf("%s, %d bytes: Write: %v", role, bytes, err)
			}
			if _, err := io.ReadFull(peer, make([]byte, 4)); err != nil {
				t.Errorf("%s, %d bytes: the peer's Read: %v", role, bytes, err)
			}
			ours.Close()
			b.Close()
		}
	}
}

// The deadline of a handshake with a silent peer is kept, and can be renewed.
func TestHandshakeDeadlineIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := membio.Pipe(wide(1 << 20))
		defer a.Close()
		server := tlsstream.Server(b, testCA.ServerConfig())
		defer server.Close()
		for range 2 {
			server.SetDeadline(time.Now().Add(time.Second))
			mustTake(t, "Handshake", time.Second, func() {
				if err := server.Handshake(); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Handshake: %v", err)
				}
			})
			mustTake(t, "Read past the deadline", 0, func() {
				if _, err := server.Read([]byte{0}); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Read: %v", err)
				}
			})
		}
		server.SetDeadline(time.Time{})
		if err := handshakeBoth(stockStack.client(a, testCA.ClientConfig()), server); err != nil {
			t.Error(err)
		}
	})
}

// HandshakeContext ends with its context, and takes the connection along, as with
// crypto/tls; once it has returned, the context has no effect.
func TestHandshakeContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, client := range []bool{true, false} {
			a, b := membio.Pipe(wide(1 << 20))
			c := streamStack.server(a, testCA.ServerConfig())
			if client {
				c = streamStack.client(a, testCA.ClientConfig())
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			mustTake(t, "HandshakeContext", time.Second, func() {
				if err := c.HandshakeContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("client=%t: HandshakeContext: %v", client, err)
				}
			})
			cancel()
			synctest.Wait()
			if _, err := a.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("client=%t: the transport is open: Write: %v", client, err)
			}
			mustTake(t, "Handshake after that", 0, func() {
				if err := c.Handshake(); err == nil {
					t.Errorf("client=%t: Handshake after its context ended: nil", client)
				}
			})
			c.Close()
			b.Close()
		}
	})
	t.Run("waiting for another goroutine's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := membio.Pipe(wide(1 << 20))
			defer a.Close()
			server := tlsstream.Server(b, testCA.ServerConfig())
			first := make(chan error, 1)
			go func() { first <- server.Handshake() }()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			mustTake(t, "HandshakeContext", time.Second, func() {
				if err := server.HandshakeContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("HandshakeContext: %v", err)
				}
			})
			server.Close()
			if err := <-first; err == nil {
				t.Error("the other handshake succeeded")
			}
		})
	})
	t.Run("over before it begins", func(t *testing.T) {
		client, server := tlsPipe(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, c := range []*tlsstream.Conn{client, server} {
			if err := c.HandshakeContext(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("HandshakeContext: %v", err)
			}
		}
	})
	t.Run("afterwards", func(t *testing.T) {
		client, server := tlsPipe(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }()
		if err := errors.Join(client.HandshakeContext(ctx), <-done); err != nil {
			t.Fatal(err)
		}
		cancel()
		echo(t, client, server)
	})
}

// Callbacks see the context of the call that began the handshake.
func TestCallbacksSeeTheContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	var got any
	clientConfig, serverConfig := ticketConfigs()
	certificate := &serverConfig.Certificates[0]
	serverConfig.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		got = hello.Context().Value(key{})
		return certificate, nil
	}
	serverConfig.Certificates = nil
	a, b := membio.Pipe(wide(1 << 20))
	client, server := stockStack.client(a, clientConfig), tlsstream.Server(b, serverConfig)
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	err := server.HandshakeContext(context.WithValue(t.Context(), key{}, "value"))
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if got != "value" {
		t.Errorf("the callback's context has %v", got)
	}
	server.Close()
	a.Close()
}

// tlsPipe returns both ends of a stream over a pipe, before the handshake.
func tlsPipe(t testing.TB) (client, server *tlsstream.Conn) {
	t.Helper()
	a, b := membio.Pipe(wide(1 << 20))
	client, server = tlsstream.Client(a, testCA.ClientConfig()), tlsstream.Server(b, testCA.ServerConfig())
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

// echo sends a few bytes both ways.
func echo(t testing.TB, a, b io.ReadWriter) {
	t.Helper()
	want := []byte("data")
	for _, side := range [][2]io.ReadWriter{{a, b}, {b, a}} {
		got := make([]byte, len(want))
		if _, err := side[0].Write(want); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(side[1], got); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "echo", got, want)
	}
}
