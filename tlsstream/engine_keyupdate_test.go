package tlsstream_test

import (
	"crypto/tls"
	"fmt"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// requestingPeer is an engine whose outbound records the test seals itself, so
// that it can request key updates. Its inbound direction works on.
type requestingPeer struct {
	*tlsstream.Engine
	out *ticketdefer.Epoch
}

// newRequestingPeer joins engines on both sides; the peer is the client if
// client is set.
func newRequestingPeer(t testing.TB, client bool) (peer requestingPeer, other *tlsstream.Engine) {
	t.Helper()
	var log keyLog
	clientConfig, serverConfig := ticketConfigs()
	direction := "SERVER"
	if client {
		clientConfig.KeyLogWriter = &log
		direction = "CLIENT"
	} else {
		serverConfig.KeyLogWriter = &log
		serverConfig.SessionTicketsDisabled = true // a ticket would take a sequence number
	}
	c, s := newEngines(t, clientConfig, serverConfig, everything)
	peer.Engine, other = c, s
	if !client {
		peer.Engine, other = s, c
	}
	peer.out = log.epoch(t, direction, peer.ConnectionState())
	return peer, other
}

// An answer to KeyUpdate is held until the next Write, in both roles, however the
// records are cut, and the peer then follows into the new keys.
func TestEngineAnswersKeyUpdatesInTurn(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{true, false} {
		for _, chunk := range []int{1, 20, everything} {
			for _, requests := range []int{1, 4, 5, 100} {
				name := fmt.Sprintf("clientAsks=%t/chunk=%d/requests=%d", client, chunk, requests)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					peer, other := newRequestingPeer(t, client)
					var want, got, wire []byte
					for i := range requests {
						wire = sealKeyUpdate(t, peer.out, wire)
						wire = peer.out.Seal(wire, typeData, []byte{byte(i)})
						want = append(want, byte(i))
					}
					for len(wire) > 0 {
						n := min(chunk, len(wire))
						n, _ = other.Feed(wire[:n])
						wire = wire[n:]
						part, err := readReady(other)
						if err != tlsstream.ErrWantRead {
							t.Fatal(err)
						}
						got = append(got, part...)
					}
					mustEqual(t, "data between the requests", got, want)
					if n := other.Pending(); n != 0 {
						t.Fatalf("%d bytes are due before the application's turn", n)
					}
					s := other.Stats()
					if s.KeyUpdates != int64(requests) || s.HeldRecords == 0 || s.HeldRecords > 6 {
						t.Fatalf("after %d requests Stats: %+v", requests, s)
					}
					response := randomBytes(4, 3000)
					mustEqual(t, "response", send(t, other, peer.Engine, response, chunk), response)
					if s := other.Stats(); s.HeldRecords != 0 {
						t.Errorf("after a Write Stats: %+v", s)
					}
				})
			}
		}
	}
}

// The control: crypto/tls writes each answer at once.
func TestEngineAnswersKeyUpdatesInTurnControl(t *testing.T) {
	t.Parallel()
	peer, server, transport := newRequestingStock(t)
	before := transport.written()
	transport.in <- peer.out.Seal(sealKeyUpdate(t, peer.out, nil), typeData, []byte{1})
	if n, err := server.Read(make([]byte, 10)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if transport.written() == before {
		t.Error("the control is blind: crypto/tls wrote nothing")
	}
}

// newRequestingStock joins an engine, as the client, and crypto/tls.
func newRequestingStock(t testing.TB) (requestingPeer, *tls.Conn, *memoryConn) {
	t.Helper()
	var log keyLog
	clientConfig, serverConfig := ticketConfigs()
	clientConfig.KeyLogWriter = &log
	client := tlsstream.NewClientEngine(clientConfig)
	t.Cleanup(func() { client.Close() })
	transport := newMemoryConn()
	server := tls.Server(transport, serverConfig)
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	for !client.ConnectionState().HandshakeComplete {
		if err := client.Handshake(); err != nil && err != tlsstream.ErrWantRead {
			t.Fatal(err)
		}
		if out := takeAll(client); len(out) > 0 {
			transport.in <- out
		}
		if !client.ConnectionState().HandshakeComplete {
			client.Feed(<-transport.out)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return requestingPeer{client, log.epoch(t, "CLIENT", client.ConnectionState())}, server, transport
}

// One goroutine feeds and reads, which makes answers to KeyUpdates, while another
// writes and takes, and a third looks at the counters: nothing is reordered.
func TestEngineReadsAndWritesAtOnce(t *testing.T) {
	t.Parallel()
	const n = 1500
	peer, other := newRequestingPeer(t, true)
	var requests []byte
	for i := range n {
		requests = peer.out.Seal(sealKeyUpdate(t, peer.out, requests), typeData, []byte{byte(i)})
	}
	want := randomBytes(1, 1<<20)
	var got, wire []byte
	stop := make(chan struct{})
	var looking, working sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				other.Stats()
				other.Pending()
				other.ConnectionState()
			}
		}
	})
	working.Go(func() {
		for len(requests) > 0 {
			k, _ := other.Feed(requests[:min(100, len(requests))])
			requests = requests[k:]
			part, err := readReady(other)
			if err != tlsstream.ErrWantRead {
				t.Errorf("Read: %v", err)
				return
			}
			got = append(got, part...)
		}
	})
	working.Go(func() {
		for rest := want; len(rest) > 0; {
			k, err := other.Write(rest[:min(700, len(rest))])
			if err != nil && err != tlsstream.ErrWantWrite {
				t.Errorf("Write: %v", err)
				return
			}
			rest = rest[k:]
			wire = append(wire, takeAll(other)...)
		}
	})
	working.Wait()
	close(stop)
	looking.Wait()
	mustEqual(t, "what the engine read", got, requested(n))

	var read []byte
	for len(wire) > 0 {
		k, _ := peer.Feed(wire)
		wire = wire[k:]
		part, err := readReady(peer.Engine)
		if err != tlsstream.ErrWantRead {
			t.Fatalf("the peer: %v", err)
		}
		read = append(read, part...)
	}
	mustEqual(t, "what the engine wrote", read, want)
}
