package tlsstream_test

import (
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
)

// BenchmarkRoundTripInMemory is one byte there and one back, by one goroutine over a pipe that never blocks: what the
// layer costs by itself, without system calls and without the scheduler.
func BenchmarkRoundTripInMemory(b *testing.B) {
	forStacks(b, func(b *testing.B, s stack) {
		clientConfig, serverConfig := ticketConfigs()
		x, y := membio.Pipe(wide(64 << 10))
		client, server := s.client(x, clientConfig), s.server(y, serverConfig)
		if err := handshakeBoth(client, server); err != nil {
			b.Fatal(err)
		}
		echo(b, client, server)
		p := make([]byte, 1)
		move := func(from, to net.Conn) {
			if _, err := from.Write(p); err != nil {
				b.Fatal(err)
			}
			if _, err := to.Read(p); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			move(client, server)
			move(server, client)
		}
		client.Close()
		server.Close()
	})
}
