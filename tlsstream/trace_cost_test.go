package tlsstream_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
)

// With nothing to tell, a stream with a Trace allocates no more than one without, and
// that no more than crypto/tls alone.
func TestTraceAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector's allocations count")
	}
	measure := func(s stack) float64 {
		clientConfig, serverConfig := ticketConfigs()
		x, y := membio.Pipe(wide(64 << 10))
		client, server := s.client(x, clientConfig), s.server(y, serverConfig)
		defer x.Close()
		defer y.Close()
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 1)
		roundTrip := func() {
			for _, c := range [][2]net.Conn{{client, server}, {server, client}} {
				if _, err := c[0].Write(p); err != nil {
					t.Fatal(err)
				}
				if _, err := c[1].Read(p); err != nil {
					t.Fatal(err)
				}
			}
		}
		roundTrip() // the ticket goes with it
		return testing.AllocsPerRun(1000, roundTrip)
	}
	stock := measure(stockStack)
	traced := tracedStack(streamStack, &traceLog{})
	traced.client = func(c net.Conn, config *tls.Config) secureConn { return (&traceLog{}).options().Client(c, config) }
	tracedTLS := tracedStack(listenerStack, &traceLog{})
	for name, s := range map[string]stack{"Conn": streamStack, "tls.Conn": listenerStack, "traced Conn": traced, "traced tls.Conn": tracedTLS} {
		if n := measure(s); n > stock {
			t.Errorf("%s: %v allocations a round trip, and %v of crypto/tls alone", name, n, stock)
		}
	}
}
