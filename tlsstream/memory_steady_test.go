package tlsstream_test

import (
	"io"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// In the steady state a Write allocates nothing, and a Read what crypto/tls allocates: one
// atLeastReader for each record that it has to wait for.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector makes sync.Pool forget")
	}
	transports := map[string]func() (client, server net.Conn){
		"tcp": func() (client, server net.Conn) {
			a, b := tlstest.TCPPair(t)
			return a, b
		},
		"pipe": func() (client, server net.Conn) { return membio.Pipe(wide(1 << 20)) },
	}
	for over, connect := range transports {
		for _, size := range []int{1, 100, 5000, 100_000} { // within the buffers of TCP, for nobody reads meanwhile
			stockReads := 0.0
			for _, s := range []stack{stockStack, streamStack, ownStack, listenerStack} {
				clientConfig, serverConfig := ticketConfigs()
				a, b := connect()
				client, server := s.client(a, clientConfig), s.server(b, serverConfig)
				if err := handshakeBoth(client, server); err != nil {
					t.Fatal(err)
				}
				echo(t, client, server)
				writes, reads := allocsOf(t, client, server, size)
				a.Close()
				b.Close()
				if s.name == stockStack.name {
					stockReads = reads
				}
				if writes > 0 || reads > max(stockReads, recordsOf(size)) {
					t.Errorf("%s over %s, %d bytes: %v allocations a Write, %v to read it (crypto/tls: %v)",
						s.name, over, size, writes, reads, stockReads)
				}
			}
		}
	}
}

// recordsOf is how many records of full size so many bytes take.
func recordsOf(size int) float64 { return float64((size + 16<<10 - 1) / (16 << 10)) }

// allocsOf returns how many allocations a Write of size bytes makes, and reading them.
func allocsOf(t *testing.T, from io.Writer, to io.Reader, size int) (writes, reads float64) {
	const rounds = 50
	p, q := make([]byte, size), make([]byte, size)
	write := func() {
		if _, err := from.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	read := func() {
		for got := 0; got < size; {
			n, err := to.Read(q)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}
	both := func() { write(); read() }
	for range 100 { // records and buffers grow
		both()
	}
	if size <= 5000 { // so many fit the transport
		writes = testing.AllocsPerRun(rounds, write)
		reads = testing.AllocsPerRun(rounds, read)
		return writes, reads
	}
	return 0, testing.AllocsPerRun(rounds, both) // all are counted as the Read's
}

func TestEngineSteadyStateAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector makes sync.Pool forget")
	}
	clientConfig, serverConfig := ticketConfigs()
	p, wire := make([]byte, 32<<10), make([]byte, 64<<10)
	for _, size := range []int{1, 100, 5000, 30_000} {
		client, server := newEngines(t, clientConfig, serverConfig, everything)
		send(t, server, client, []byte("data"), everything) // and the ticket
		n := 0
		write := func() {
			if k, err := client.Write(p[:size]); k != size || err != nil {
				t.Fatalf("Write: %d, %v", k, err)
			}
			n, _ = client.Take(wire)
		}
		read := func() {
			if _, err := server.Feed(wire[:n]); err != nil {
				t.Fatal(err)
			}
			for got := 0; got < size; {
				k, err := server.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				got += k
			}
		}
		both := func() { write(); read() }
		for range 100 {
			both()
		}
		if got := testing.AllocsPerRun(50, both); got > recordsOf(size) {
			t.Errorf("%d bytes: %v allocations to write and read them, want crypto/tls's one for each record", size, got)
		}
		if got := testing.AllocsPerRun(50, write); got > 0 {
			t.Errorf("%d bytes: %v allocations to write them", size, got)
		}
	}
}

// Traffic leaves nothing behind: no chunk is in use, and nothing is counted as waiting.
func TestTrafficLeavesNoBuffers(t *testing.T) {
	const n = 20
	for name, connect := range map[string]func() (net.Conn, net.Conn){
		"tcp":  func() (net.Conn, net.Conn) { return tcpConns(t) },
		"pipe": func() (net.Conn, net.Conn) { return membio.Pipe(wide(64 << 10)) },
	} {
		clientConfig, serverConfig := ticketConfigs()
		cheap(clientConfig, serverConfig)
		var conns []*tlsstream.Conn
		p, q := make([]byte, 64<<10), make([]byte, 64<<10)
		traffic := func(i int) {
			client, server := conns[2*i], conns[2*i+1]
			done := make(chan error, 1)
			go func() { done <- receiveAndSend(server, 1<<20, q) }()
			if err := sendAndReceive(client, 1<<20, p); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			a, b := connect()
			conns = append(conns, tlsstream.Client(a, clientConfig), tlsstream.Server(b, serverConfig))
			traffic(i) // crypto/tls's own buffers have grown
		}
		heap, _ := memoryInUse()
		for i := range n {
			traffic(i)
		}
		after, _ := memoryInUse()
		if each := (after - heap) / (2 * n); each > 1<<10 { // a chunk is 16 KiB
			t.Errorf("over %s: traffic leaves %d bytes with each endpoint", name, each)
		}
		for _, c := range conns {
			if s := c.Stats(); s.Pending != 0 || s.ReadAhead != 0 || s.HeldBytes != 0 || s.Gathered != 0 {
				t.Errorf("over %s: after traffic: %+v", name, s)
			}
			c.NetConn().Close()
		}
	}
}
