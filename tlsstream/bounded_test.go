package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// One request per byte, in a one-way stream, without one application write: every
// byte is read, what is held stays constant, and the first write is answered as if
// there had been one request.
func TestEveryLegalKeyUpdateLoadWorks(t *testing.T) {
	t.Parallel()
	const n = 10_000
	for _, s := range []stack{streamStack, listenerStack} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			client, server := newRequester(t, s, narrowBack)
			go client.request(n)
			got := make([]byte, n)
			var early tlsstream.Stats
			for read := 0; read < n; {
				k, err := server.Read(got[read:])
				if err != nil {
					t.Fatalf("after %d bytes: %v", read, err)
				}
				read += k
				if read >= 10 && early.HeldBytes == 0 {
					early, _ = tlsstream.StatsOf(server)
				}
			}
			mustEqual(t, "data between requests", got, requested(n))
			late, ok := tlsstream.StatsOf(server)
			if !ok || late.HeldBytes != early.HeldBytes || late.HeldBytes == 0 || late.HeldBytes > 200 {
				t.Errorf("held at first: %+v, at last: %+v", early, late)
			}
			if late.KeyUpdates != n || late.ForcedReleases != 0 {
				t.Errorf("Stats: %+v", late)
			}

			response := randomBytes(1, 5000)
			go server.Write(response)
			p := make([]byte, len(response))
			if _, err := io.ReadFull(client, p); err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "response", p, response)
			client.request(3)
			if _, err := io.ReadFull(server, got[:3]); err != nil {
				t.Errorf("requests after the response: %v", err)
			}
		})
	}
}

// What the layer holds does not grow with what the peer sends, nor with what the
// application writes: one ticket, a few KeyUpdates, one slice of a Write.
func TestBounded(t *testing.T) {
	t.Parallel()
	t.Run("ticket and key updates", func(t *testing.T) {
		t.Parallel()
		var log keyLog
		clientConfig, serverConfig := ticketConfigs()
		mutual(clientConfig, serverConfig)
		clientConfig.Certificates = []tls.Certificate{testCA.BigClient("alice", 60<<10)}
		clientConfig.KeyLogWriter = &log
		a, b := membio.Pipe(wide(4 << 20))
		client, server := tls.Client(a, clientConfig), tlsstream.Server(b, serverConfig)
		defer server.Close()
		defer a.Close()
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		r := &requester{client, t, a, log.epoch(t, "CLIENT", client.ConnectionState())}
		for range 10 {
			r.request(100)
			if _, err := io.ReadFull(server, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			if s := server.Stats(); s.HeldBytes < 60<<10 || s.HeldBytes > 70<<10 || s.Pending != 0 {
				t.Fatalf("Stats: %+v", s)
			}
		}
		server.Write([]byte("x"))
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if s := server.Stats(); s.HeldBytes != 0 || s.Pending != 0 {
			t.Errorf("Stats after a Write: %+v", s)
		}
	})
	t.Run("a large Write", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			_, server := newRequester(t, streamStack, narrowBack)
			p := make([]byte, 8<<20)
			for range 5 {
				server.SetWriteDeadline(time.Now().Add(time.Second))
				n, err := server.Write(p)
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("Write: %d, %v", n, err)
				}
				p = p[n:]
				s, _ := tlsstream.StatsOf(server)
				if s.Pending == 0 || s.Pending > writeLimit+writeLimit/20 {
					t.Errorf("Stats: %+v", s)
				}
			}
		})
	})
}
