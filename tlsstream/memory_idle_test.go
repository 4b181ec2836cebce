//go:build unix

package tlsstream_test

import (
	"io"
	"net"
	"testing"
)

// What an idle endpoint takes with the goroutine that waits in Read. In heap this layer takes
// some 2 KiB: a clone of the configuration, which has the key log (480 bytes), the Conn (900; of the
// listener's path, its two Conns), the gate, its secret and its keys (550), and what calls of the
// socket need (150). A goroutine that has shaken hands with crypto/tls, as those of servers have,
// keeps the stack for that, because Read leaves it too full to shrink. The handshake of a Conn has
// a goroutine of its own, which ends: heap and stack together are less than crypto/tls's.
func TestIdleReadersTakeLittleMoreThanStock(t *testing.T) {
	const (
		layer = 10 << 8 // bytes of heap more than crypto/tls
		most  = 1 << 10 // bytes of heap and stack more than crypto/tls, for a Conn whose goroutine has shaken hands
	)
	n := fleetSize(t, 200, 2500)
	for _, test := range []struct {
		name    string
		traffic int  // bytes each way
		fresh   bool // another goroutine waits than has shaken hands
		layer   int
	}{
		{"one goroutine", 4, false, layer},
		{"another goroutine", 4, true, layer}, // as those of http.Transport
		// The buffer in which crypto/tls reads has grown with each, by how the records came. One of
		// this layer's that stayed would be 16 KiB.
		{"1 MiB each way", 1 << 20, true, 10 << 10},
	} {
		cost := map[string]resident{}
		for _, s := range []stack{stockStack, streamStack, listenerStack} {
			cost[s.name] = residentMemory(2*n, func(endpoints int) func() {
				return idleReaders(t, s, endpoints/2, test.traffic, test.fresh)
			})
		}
		t.Logf("%s, for each of %d endpoints: %+v", test.name, 2*n, cost)
		for _, s := range []stack{streamStack, listenerStack} {
			if more := cost[s.name].heap - cost[stockStack.name].heap; more > test.layer {
				t.Errorf("%s: %s takes %d bytes of heap more than crypto/tls, want %d at most", test.name, s.name, more, test.layer)
			}
		}
		if more := cost[streamStack.name].total() - cost[stockStack.name].total(); !test.fresh && more > most {
			t.Errorf("%s: a Conn takes %d bytes of heap and stack more than crypto/tls, want %d at most", test.name, more, most)
		}
	}
}

// idleReaders makes n connections over TCP whose ends have exchanged some bytes, and then wait
// for more: each in a fresh goroutine, or in that of its handshake.
func idleReaders(t *testing.T, s stack, n, traffic int, fresh bool) (end func()) {
	clientConfig, serverConfig := ticketConfigs()
	cheap(clientConfig, serverConfig)
	ended := make(chan struct{}, 2*n)
	exchanged := make(chan error)
	p, q := make([]byte, 64<<10), make([]byte, 64<<10)
	serve := func(c secureConn, exchange func(io.ReadWriter, int, []byte) error, p []byte) {
		wait := func() {
			c.Read(make([]byte, 1))
			ended <- struct{}{}
		}
		err := exchange(c, traffic, p)
		if fresh {
			go wait()
		}
		exchanged <- err
		if !fresh {
			wait()
		}
	}
	var transports []net.Conn
	for range n {
		a, b := tcpConns(t)
		transports = append(transports, a, b)
		go serve(s.client(a, clientConfig), sendAndReceive, p)
		go serve(s.server(b, serverConfig), receiveAndSend, q)
		for range 2 {
			if err := <-exchanged; err != nil {
				t.Fatal(err)
			}
		}
	}
	awaitGoroutines(t, "internal/poll.(*pollDesc).waitRead", 2*n)
	return func() {
		for _, c := range transports {
			c.Close()
		}
		for range transports {
			<-ended
		}
	}
}
