package tlsstream_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// Every method from many goroutines at once, from before the handshake until
// after Close. The race detector judges; that all goroutines end is judged by the
// bubble, which fails if one is left.
func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		synctest.Test(t, func(t *testing.T) {
			clientConfig, serverConfig := ticketConfigs()
			cheap(clientConfig, serverConfig)
			a, b := membio.Pipe(membio.PipeOptions{
				A:    membio.PipeSide{SendBuffer: 1000, ReceiveBuffer: 1000, MaxSegment: 100},
				B:    membio.PipeSide{SendBuffer: 3000, ReceiveBuffer: 100_000, MaxSegment: 1460},
				Seed: seed,
			})
			client, server := tlsstream.Client(a, clientConfig), tlsstream.Server(b, serverConfig)
			var calls sync.WaitGroup
			for i, c := range []*tlsstream.Conn{client, server} {
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				for range 3 {
					useEverything(&calls, c, rand.New(rand.NewPCG(random.Uint64(), 0)))
				}
				calls.Go(func() {
					time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond) // virtual
					c.Close()
				})
			}
			calls.Wait()
			for _, c := range []*tlsstream.Conn{client, server} {
				if _, err := c.Write([]byte{1}); err == nil {
					t.Error("Write after Close succeeded")
				}
			}
		})
	}
}

// useEverything starts a goroutine for each method, that calls it until the
// connection has ended.
func useEverything(calls *sync.WaitGroup, c *tlsstream.Conn, random *rand.Rand) {
	ended := func(err error) bool {
		return err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || err == nil && c.SetDeadline(time.Time{}) != nil
	}
	until := func(f func() error) {
		calls.Go(func() {
			for !ended(f()) {
				time.Sleep(time.Millisecond) // virtual
			}
		})
	}
	size, pause := 1+random.IntN(100_000), time.Duration(random.IntN(50))*time.Millisecond
	until(func() error { _, err := c.Read(make([]byte, size)); return err })
	until(func() error { _, err := c.Write(make([]byte, size)); return err })
	until(func() error { _, err := c.Write(nil); return err })
	until(c.FlushTickets)
	until(c.Handshake)
	until(func() error { return c.SetDeadline(time.Now().Add(pause)) })
	until(func() error { return c.SetReadDeadline(time.Now().Add(pause)) })
	until(func() error { return c.SetWriteDeadline(time.Time{}) })
	until(func() error {
		c.Stats()
		c.ConnectionState()
		c.VerifyHostname("localhost")
		c.OCSPResponse()
		_, _, _, _ = c.LocalAddr(), c.RemoteAddr(), c.NetConn(), c.TLS()
		return nil
	})
	calls.Go(func() {
		time.Sleep(10 * pause) // virtual
		c.CloseWrite()
	})
}

// Concurrent Writes are whole: the bytes of each slice stay together, and none is
// lost.
func TestConcurrentWritesAreWhole(t *testing.T) {
	t.Parallel()
	client, server := tlsPipe(t)
	const writers, writes, size = 8, 50, 1000
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			p := make([]byte, size)
			for i := range p {
				p[i] = byte(w)
			}
			for range writes {
				if _, err := server.Write(p); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		all.Wait()
		server.CloseWrite()
	}()
	got, err := io.ReadAll(client)
	if err != nil || len(got) != writers*writes*size {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	count := map[byte]int{}
	for ; len(got) > 0; got = got[size:] {
		for i := range size {
			if got[i] != got[0] {
				t.Fatalf("a Write of %d has a byte of %d in it", got[0], got[i])
			}
		}
		count[got[0]]++
	}
	for w := range writers {
		if count[byte(w)] != writes {
			t.Errorf("writer %d: %d writes", w, count[byte(w)])
		}
	}
}

// Full duplex: both directions at full speed do not wait for each other, however
// little the transport holds.
func TestFullDuplex(t *testing.T) {
	t.Parallel()
	for _, room := range []int{0, 1000, 1 << 20} {
		a, b := membio.Pipe(wide(room))
		client, server := tlsstream.Client(a, testCA.ClientConfig()), tlsstream.Server(b, testCA.ServerConfig())
		want := randomBytes(uint64(room), 2<<20)
		var all sync.WaitGroup
		for _, c := range []net.Conn{client, server} {
			c.SetDeadline(time.Now().Add(time.Minute))
			all.Go(func() {
				if _, err := c.Write(want); err != nil {
					t.Errorf("room %d: Write: %v", room, err)
				}
			})
			all.Go(func() {
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil {
					t.Errorf("room %d: Read: %v", room, err)
					return
				}
				for i := range got {
					if got[i] != want[i] {
						t.Errorf("room %d: byte %d differs", room, i)
						return
					}
				}
			})
		}
		all.Wait()
		a.Close()
		b.Close()
		client.Close()
		server.Close()
	}
}
