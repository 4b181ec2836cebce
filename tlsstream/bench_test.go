package tlsstream_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// Each benchmark has a sub-benchmark stack=... for crypto/tls alone and for our
// paths, with the same stack at both ends. For benchstat:
//
//	go test -run '^$' -bench . -count 10 ./tlsstream | benchstat -col /stack -

func forStacks(b *testing.B, f func(b *testing.B, s stack)) {
	for _, s := range []stack{stockStack, streamStack, ownStack, listenerStack} {
		b.Run("stack="+s.name, func(b *testing.B) { f(b, s) })
	}
}

// benchPair returns both ends of a connection over TCP, after the handshake.
func benchPair(b *testing.B, s stack) (client, server secureConn) {
	b.Helper()
	clientConfig, serverConfig := ticketConfigs()
	x, y := tlstest.TCPPair(b)
	client, server = s.client(x, clientConfig), s.server(y, serverConfig)
	if err := handshakeBoth(client, server); err != nil {
		b.Fatal(err)
	}
	echo(b, client, server)
	return client, server
}

// BenchmarkBulk is one direction at full speed, in writes of one size, read in
// pieces of 64 KiB.
func BenchmarkBulk(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("write=%dKiB", size>>10), func(b *testing.B) {
			forStacks(b, func(b *testing.B, s stack) {
				client, server := benchPair(b, s)
				p := make([]byte, size)
				if _, err := exchangeBulk(client, server, p, 1<<20/size+1); err != nil {
					b.Fatal(err) // it makes the records grow
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				if _, err := exchangeBulk(client, server, p, b.N); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				client.Close()
				server.Close()
			})
		})
	}
}

// exchangeBulk writes p n times and reads it all.
func exchangeBulk(from, to net.Conn, p []byte, n int) (int64, error) {
	sent := make(chan error, 1)
	go func() {
		for range n {
			if _, err := from.Write(p); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	total := int64(n) * int64(len(p))
	q := make([]byte, 64<<10)
	for read := int64(0); read < total; {
		k, err := to.Read(q)
		if err != nil {
			return read, err
		}
		read += int64(k)
	}
	return total, <-sent
}

// BenchmarkPingPong is one byte there and one byte back.
func BenchmarkPingPong(b *testing.B) {
	forStacks(b, func(b *testing.B, s stack) {
		client, server := benchPair(b, s)
		echoed := make(chan struct{})
		go func() {
			defer close(echoed)
			p := make([]byte, 1)
			for {
				if _, err := server.Read(p); err != nil {
					return
				}
				if _, err := server.Write(p); err != nil {
					return
				}
			}
		}()
		p := make([]byte, 1)
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if _, err := client.Write(p); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(client, p); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		client.Close()
		<-echoed
		server.Close()
	})
}

// BenchmarkHandshake is both ends' handshake, and one byte from the server, which
// brings the ticket. It runs over memory: connecting TCP would cost more than what
// is measured.
func BenchmarkHandshake(b *testing.B) {
	for _, kind := range []handshakeKind{full, resumed} {
		b.Run("kind="+string(kind), func(b *testing.B) {
			forStacks(b, func(b *testing.B, s stack) {
				clientConfig, serverConfig := ticketConfigs()
				benchHandshake(b, s, clientConfig, serverConfig)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					if kind == full {
						clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
					}
					if got := benchHandshake(b, s, clientConfig, serverConfig); got != kind {
						b.Fatalf("the handshake was %s", got)
					}
				}
			})
		})
	}
}

func benchHandshake(b *testing.B, s stack, clientConfig, serverConfig *tls.Config) handshakeKind {
	x, y := membio.Pipe(wide(64 << 10))
	client, server := s.client(x, clientConfig), s.server(y, serverConfig)
	p := make([]byte, 1)
	done := make(chan error, 1)
	go func() {
		_, err := server.Write(p)
		done <- err
	}()
	if _, err := io.ReadFull(client, p); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	kind := kindOf(client.ConnectionState())
	client.Close()
	server.Close()
	return kind
}

// BenchmarkIdle reports what an endpoint costs after its handshake and a little
// data: bytes of heap, an in-memory transport's few included, and goroutines.
func BenchmarkIdle(b *testing.B) {
	const n = 200
	forStacks(b, func(b *testing.B, s stack) {
		var bytes, goroutines int
		for range b.N {
			bytes, goroutines = heapOf(func() func() { return idleFleet(b, s, n) })
		}
		b.ReportMetric(0, "ns/op") // it means nothing here
		b.ReportMetric(float64(bytes)/(2*n), "heap-B/conn")
		b.ReportMetric(float64(goroutines)/(2*n), "goroutines/conn")
	})
}
