package tlsstream_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// Whatever the application does, and however the transport cuts it, each side's
// stream arrives byte for byte: tickets, answers to KeyUpdates, collapsed or not,
// flushes, and writes of all sizes. The peer's crypto/tls finds any record that was
// dropped, changed or reordered.
func TestOrder(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{streamStack, listenerStack} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s/seed=%d", s.name, seed), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, 0))
				side := func() membio.PipeSide {
					return membio.PipeSide{
						SendBuffer:    random.IntN(100_000),
						ReceiveBuffer: 1 + random.IntN(100_000),
						MaxSegment:    random.IntN(3000),
					}
				}
				client, server := newRequester(t, s, membio.PipeOptions{A: side(), B: side(), Seed: seed})
				orderRun(t, client, server, random)
			})
		}
	}
}

func orderRun(t *testing.T, client *requester, server secureConn, random *rand.Rand) {
	const steps = 150
	up, down := randomBytes(random.Uint64(), 1<<20), randomBytes(random.Uint64(), 1<<20)
	clientRandom := rand.New(rand.NewPCG(random.Uint64(), 1))

	clientSent := make(chan []byte, 1)
	go func() { // the client writes data, and requests now and then, and often in a row
		rest := up
		for range steps {
			var wire []byte
			for range clientRandom.IntN(12) {
				wire = sealKeyUpdate(t, client.out, wire)
			}
			n := 1 + clientRandom.IntN(3000)
			client.transport.Write(client.out.Seal(wire, typeData, rest[:n]))
			rest = rest[n:]
		}
		client.transport.Write(client.out.Seal(nil, typeAlert, []byte{1, 0}))
		clientSent <- up[:len(up)-len(rest)]
	}()
	serverSent := make(chan []byte, 1)
	go func() {
		rest := down
		for range steps {
			switch random.IntN(5) {
			case 0:
				tlsstream.FlushTickets(server)
			case 1:
				server.Write(nil)
			default:
				n := random.IntN(6000)
				if n > len(rest) {
					break
				}
				server.Write(rest[:n])
				rest = rest[n:]
			}
		}
		server.CloseWrite()
		serverSent <- down[:len(down)-len(rest)]
	}()
	gotDown := make(chan []byte, 1)
	go func() {
		got, err := io.ReadAll(client)
		if err != nil {
			t.Errorf("the client reads: %v", err)
		}
		gotDown <- got
	}()
	gotUp, err := io.ReadAll(server)
	if err != nil {
		t.Errorf("the server reads: %v", err)
		client.transport.Close()
	}
	mustEqual(t, "the client's stream", gotUp, <-clientSent)
	mustEqual(t, "the server's stream", <-gotDown, <-serverSent)
}
