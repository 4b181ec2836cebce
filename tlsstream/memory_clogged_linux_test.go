package tlsstream_test

import (
	"net"
	"slices"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A writer whose peer does not read holds the rest of one record, and crypto/tls nothing
// beside it: a thousand of them hold 16 MiB at most.
func TestCloggedWritersHoldARecordEach(t *testing.T) {
	const (
		limit = 16 << 20 / 1000
		stray = 512 // for each of a few, what else has come into being meanwhile
	)
	n := 1000
	if testing.Short() || underRace {
		n = 50
	}
	each := map[string]int{}
	for _, s := range []stack{stockStack, streamStack, listenerStack} {
		each[s.name] = cloggedWriters(t, s, n, 16<<10)
	}
	t.Logf("heap bytes for each of %d clogged writers: %v", n, each)
	if got := each[streamStack.name]; got > limit {
		t.Errorf("a clogged writer holds %d bytes, want %d at most", got, limit)
	}
	// There the record is in crypto/tls's own buffer, and this layer keeps nothing.
	if more := each[listenerStack.name] - each[stockStack.name]; more > 512 {
		t.Errorf("a clogged *tls.Conn of the listener's holds %d bytes more than one of crypto/tls's", more)
	}
	// How much of a record the kernel takes depends on its buffers: all, some or nothing.
	for _, s := range []stack{streamStack, ownStack} {
		for _, kernel := range []int{16 << 10, 100 << 10, 128 << 10, 200 << 10} {
			got := cloggedWriters(t, s, 25, kernel)
			t.Logf("%s over socket buffers of %d bytes: %d", s.name, kernel, got)
			if got > limit+stray {
				t.Errorf("%s: over socket buffers of %d bytes a clogged writer holds %d bytes, want %d at most", s.name, kernel, got, limit)
			}
		}
	}
}

// cloggedWriters returns how much more heap a connection takes while a Write of 8 MiB on
// it is blocked than while it is idle, over socket buffers of kernel bytes.
func cloggedWriters(t *testing.T, s stack, n, kernel int) (each int) {
	clients, servers := tcpFleet(t, s, n, kernel)
	defer closeTransports(clients, servers)
	p := make([]byte, 8<<20)
	begin, ended := make(chan struct{}), make(chan error, n)
	for _, c := range clients {
		go func() {
			<-begin
			_, err := c.Write(p)
			ended <- err
		}()
	}
	idle, _ := memoryInUse()
	close(begin)
	clogged := 0
	for settled := false; !settled; { // the kernel may take a little more
		awaitGoroutines(t, waitsToWrite, n)
		before := pendingOf(clients)
		clogged, _ = memoryInUse()
		settled = goroutinesWith(t, waitsToWrite) == n && slices.Equal(before, pendingOf(clients)) &&
			(s.name == stockStack.name || s.name == listenerStack.name || !slices.Contains(before, 0))
	}
	closeTransports(clients, servers)
	for range clients {
		if err := <-ended; err == nil {
			t.Error("a Write to a peer that does not read has returned")
		}
	}
	return (clogged - idle) / n
}

// waitsToWrite is where a goroutine is whose socket is full.
const waitsToWrite = "internal/poll.(*pollDesc).waitWrite"

// pendingOf returns what each waits to send, or 0 if it does not tell.
func pendingOf(conns []secureConn) []int {
	pending := make([]int, len(conns))
	for i, c := range conns {
		if stats, ok := tlsstream.StatsOf(c); ok {
			pending[i] = stats.Pending
		}
	}
	return pending
}

// closeTransports closes without a word, for a peer that does not read hears none.
func closeTransports[C interface{ NetConn() net.Conn }](fleets ...[]C) {
	for _, fleet := range fleets {
		for _, c := range fleet {
			c.NetConn().Close()
		}
	}
}
