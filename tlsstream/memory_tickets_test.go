package tlsstream_test

import (
	"crypto/tls"
	"runtime"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// bigTicketBytes is nearly as long as a ticket can be (RFC 8446 4.6.1).
const bigTicketBytes = 64_000

// What is held takes as much memory as it is long, with the rounding of the allocator, and
// the first Write gives all of it back.
func TestHeldTicketsTakeTheirLengthUntilTheFirstWrite(t *testing.T) {
	const rounding = 8 << 10 // the allocator's, above 32 KiB: a page
	n := fleetSize(t, 1000, 5000)

	small := releasedFleet(t, n, 0)
	big := releasedFleet(t, n, bigTicketBytes)
	t.Logf("%d engines, for each: %+v; with short tickets: %+v", n, big, small)
	if big.heldBytes < bigTicketBytes {
		t.Fatalf("blind: %d bytes are held", big.heldBytes)
	}
	if more := (big.held - big.released) - (small.held - small.released); more < big.heldBytes-small.heldBytes || more > big.heldBytes+rounding {
		t.Errorf("%d bytes are held, they take %d, and the allocator rounds up to %d", big.heldBytes, more, rounding)
	}
	if more := big.released - small.released; more > 128 {
		t.Errorf("%d bytes more are left of each than of one that had a short ticket", more)
	}
}

// heldMemory is the heap that an engine takes.
type heldMemory struct {
	heldBytes int // as Stats tells
	held      int // in use with the ticket held
	released  int // after the first Write, and Take
}

// releasedFleet makes n servers, each with a ticket held, and lets all write. The tickets
// have size bytes, or their usual length if it is zero.
func releasedFleet(t *testing.T, n, size int) heldMemory {
	clientConfig, serverConfig := ticketConfigs()
	cheap(clientConfig, serverConfig)
	clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1) // of tickets that never come
	if size > 0 {
		ticket := make([]byte, size)
		serverConfig.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return ticket, nil }
	}
	servers := make([]*tlsstream.Engine, n)
	join := func(i int) {
		client := tlsstream.NewClientEngine(clientConfig)
		defer client.Close()
		servers[i] = tlsstream.NewServerEngine(serverConfig)
		joinEngines(t, client, servers[i], everything)
	}
	join(0) // what is made once
	servers[0].Close()
	before, _ := memoryInUse()
	for i := range servers {
		join(i)
	}
	var m heldMemory
	m.heldBytes = servers[0].Stats().HeldBytes
	held, _ := memoryInUse()
	sent := make([]byte, 128<<10)
	for _, s := range servers {
		if _, err := s.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Take(sent); err != nil || n < m.heldBytes || s.Pending() > 0 {
			t.Fatalf("Take after the first Write: %d, %v, and %d bytes pending", n, err, s.Pending())
		}
	}
	released, _ := memoryInUse()
	runtime.KeepAlive(sent)
	for _, s := range servers {
		s.Close()
	}
	m.held, m.released = (held-before)/n, (released-before)/n
	return m
}
