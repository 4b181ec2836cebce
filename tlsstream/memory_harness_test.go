package tlsstream_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// memoryInUse returns what live objects take, and the stacks of goroutines, in bytes.
func memoryInUse() (heap, stack int) {
	for range 4 { // the second empties the pools; each halves stacks that are hardly used
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), int(m.StackInuse)
}

// tcpFleet returns n connections over TCP, after the handshake and a byte each way, which
// brings the ticket. Socket buffers have kernel bytes: what the kernel takes does not count,
// and must not be a thousand times what it takes by default. They are closed when the test
// ends.
func tcpFleet(t testing.TB, s stack, n, kernel int) (clients, servers []secureConn) {
	t.Helper()
	clientConfig, serverConfig := ticketConfigs()
	cheap(clientConfig, serverConfig)
	// crypto/tls begins with short records. What counts is the longest.
	clientConfig.DynamicRecordSizingDisabled = true
	serverConfig.DynamicRecordSizingDisabled = true
	for range n {
		a, b := tlstest.TCPPair(t)
		for _, c := range []*net.TCPConn{a, b} {
			c.SetReadBuffer(kernel)
			c.SetWriteBuffer(kernel)
		}
		client, server := s.client(a, clientConfig), s.server(b, serverConfig)
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		echo(t, client, server)
		clients, servers = append(clients, client), append(servers, server)
	}
	return clients, servers
}

// awaitGoroutines waits until n goroutines have a function in their stacks.
func awaitGoroutines(t testing.TB, function string, n int) {
	t.Helper()
	const patience = time.Minute // of a busy machine
	for began := time.Now(); ; runtime.Gosched() {
		got := goroutinesWith(t, function)
		if got == n {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%d goroutines are in %s, want %d", got, function, n)
		}
	}
}

// goroutinesWith counts the goroutines that have a function in their stacks.
func goroutinesWith(t testing.TB, function string) int {
	t.Helper()
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	// Paragraphs of "count @ addresses" and a line for each function.
	total, count := 0, 0
	for lines := bufio.NewScanner(&profile); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.Contains(line, " @ "):
			fmt.Sscan(line, &count)
		case strings.Contains(line, "\t"+function+"+"):
			total += count
			count = 0
		}
	}
	return total
}

var fullFleets = flag.Bool("fleets.full", false, "measure memory with the numbers of connections that are promised, not with fewer")

// fleetSize is how many connections to measure memory with.
func fleetSize(t testing.TB, usual, full int) int {
	t.Helper()
	switch {
	case *fullFleets:
		return full
	case underRace:
		t.Skip("the race detector takes memory of its own: this is measured without it")
	case testing.Short():
		return usual / 10
	}
	return usual
}

// resident is what something holds, in bytes.
type resident struct{ heap, stack int }

func (r resident) total() int { return r.heap + r.stack }

// residentMemory returns what each of n holds that make leaves in use. What it returns ends
// them.
func residentMemory(n int, make func(n int) (end func())) resident {
	make(max(1, n/10))() // what is made once
	heap, stack := memoryInUse()
	end := make(n)
	heapThen, stackThen := memoryInUse()
	end()
	return resident{(heapThen - heap) / n, (stackThen - stack) / n}
}

// tcpConns is tlstest.TCPPair without the memory of a cleanup.
func tcpConns(t *testing.T) (dialed, accepted net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if dialed, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return dialed, accepted
}

// sendAndReceive sends n bytes, and waits for as many.
func sendAndReceive(c io.ReadWriter, n int, p []byte) error {
	for left := n; left > 0; left -= min(left, len(p)) {
		if _, err := c.Write(p[:min(left, len(p))]); err != nil {
			return err
		}
	}
	for left := n; left > 0; {
		k, err := c.Read(p[:min(left, len(p))])
		if err != nil {
			return err
		}
		left -= k
	}
	return nil
}

func receiveAndSend(c io.ReadWriter, n int, p []byte) error {
	for left := n; left > 0; {
		k, err := c.Read(p[:min(left, len(p))])
		if err != nil {
			return err
		}
		left -= k
	}
	for left := n; left > 0; left -= min(left, len(p)) {
		if _, err := c.Write(p[:min(left, len(p))]); err != nil {
			return err
		}
	}
	return nil
}
