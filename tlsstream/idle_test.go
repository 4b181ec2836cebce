package tlsstream_test

import (
	"io"
	"runtime"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// An idleFleet is many connections of one stack, after the handshake and some
// data, with nothing to do.
func idleFleet(t testing.TB, s stack, n int) (close func()) {
	clientConfig, serverConfig := ticketConfigs()
	cheap(clientConfig, serverConfig)
	var conns []secureConn
	for range n {
		a, b := membio.Pipe(wide(1 << 20))
		client, server := s.client(a, clientConfig), s.server(b, serverConfig)
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		echo(t, client, server)
		conns = append(conns, client, server)
	}
	return func() {
		for _, c := range conns {
			c.Close()
		}
	}
}

// heapOf returns how much heap and how many goroutines f leaves in use.
func heapOf(f func() (close func())) (bytes, goroutines int) {
	measure := func() (int, int) {
		runtime.GC()
		runtime.GC() // the second empties the pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc), runtime.NumGoroutine()
	}
	beforeBytes, beforeGoroutines := measure()
	end := f()
	afterBytes, afterGoroutines := measure()
	end()
	return afterBytes - beforeBytes, afterGoroutines - beforeGoroutines
}

// An idle stream has no goroutine and keeps no buffer: it costs what crypto/tls
// costs, and a few words.
func TestIdleCostsNothing(t *testing.T) {
	const n = 100
	cost := map[string]int{}
	for _, s := range []stack{stockStack, streamStack, listenerStack} {
		idleFleet(t, s, 1)() // what is made once
		bytes, goroutines := heapOf(func() func() { return idleFleet(t, s, n) })
		if goroutines > 0 {
			t.Errorf("%s: %d goroutines for %d idle connections", s.name, goroutines, n)
		}
		cost[s.name] = bytes / (2 * n)
	}
	t.Logf("heap bytes per endpoint: %v", cost)
	for _, s := range []stack{streamStack, listenerStack} {
		if more := cost[s.name] - cost[stockStack.name]; more > 4<<10 {
			t.Errorf("%s costs %d bytes more than crypto/tls: %v", s.name, more, cost)
		}
	}
}

// What was held, pending or read ahead is given back when it has gone.
func TestIdleAgainKeepsNothing(t *testing.T) {
	const n = 20
	clientConfig, serverConfig := ticketConfigs()
	cheap(clientConfig, serverConfig)
	type pair struct{ client, server *tlsstream.Conn }
	var pairs []pair
	for range n {
		a, b := membio.Pipe(wide(1 << 20))
		p := pair{tlsstream.Client(a, clientConfig), tlsstream.Server(b, serverConfig)}
		if err := handshakeBoth(p.client, p.server); err != nil {
			t.Fatal(err)
		}
		echo(t, p.client, p.server)
		pairs = append(pairs, p)
	}
	bytes, _ := heapOf(func() func() {
		big := make([]byte, 300_000)
		for _, p := range pairs {
			if _, err := p.server.Write(big); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(p.client, big); err != nil {
				t.Fatal(err)
			}
			if s := p.server.Stats(); s.Pending != 0 || s.HeldBytes != 0 || s.ReadAhead != 0 {
				t.Fatalf("Stats: %+v", s)
			}
		}
		return func() {}
	})
	// crypto/tls keeps its own input buffer, which has grown to two records.
	if each := bytes / n; each > 48<<10 {
		t.Errorf("%d bytes stay with each connection", each)
	}
	for _, p := range pairs {
		p.client.Close()
		p.server.Close()
	}
}
