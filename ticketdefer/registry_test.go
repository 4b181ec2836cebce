package ticketdefer

import (
	"crypto/tls"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A sameRandom is a Config.Rand that makes all clients send one client_random.
// The rest of their randomness is crypto/tls's own.
type sameRandom struct{}

func (sameRandom) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0x5a
	}
	return len(p), nil
}

// A meeting lets n handshakes go on only when all have come to it.
type meeting struct {
	wg   sync.WaitGroup
	once sync.Map
}

func newMeeting(n int) *meeting {
	m := new(meeting)
	m.wg.Add(n)
	return m
}

func (m *meeting) hook(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if _, again := m.once.LoadOrStore(hello.Conn, true); !again {
		m.wg.Done()
	}
	m.wg.Wait()
	return nil, nil
}

// replay runs n servers at once whose clients all send the same client_random,
// and returns the servers' Conns, after each has sent a response that arrived.
// change makes settings for each client.
func replay(t *testing.T, n int, change func(i int, server, client *tls.Config)) []*Conn {
	t.Helper()
	serverConfig := testCA.ServerConfig()
	meet := newMeeting(n)
	serverConfig.GetConfigForClient = meet.hook
	var conns []*Conn
	var busy sync.WaitGroup
	for i := range n {
		a, b := tlstest.TCPPair(t)
		conn := WrapConn(a)
		conns = append(conns, conn)
		t.Cleanup(func() { conn.Close() })
		serverConfig, clientConfig := serverConfig.Clone(), resumable()
		clientConfig.Rand = sameRandom{}
		change(i, serverConfig, clientConfig)
		server, client := tls.Server(conn, WrapConfig(serverConfig)), tls.Client(b, clientConfig)
		busy.Go(func() {
			if err := tryShake(server, client); err != nil {
				t.Errorf("connection %d: %v", i, err)
				return
			}
			for _, word := range []string{"response", "and more"} {
				if _, err := server.Write([]byte(word)); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
				got := make([]byte, len(word))
				if _, err := io.ReadFull(client, got); err != nil || string(got) != word {
					t.Errorf("connection %d: read %q, %v", i, got, err)
				}
			}
		})
	}
	busy.Wait()
	return conns
}

// A peer may send the client_random that it saw another send. Both are
// deferred, in whatever order their secrets come.
func TestReplayedClientRandomIsDeferred(t *testing.T) {
	for name, prepare := range handshakes {
		for _, n := range []int{2, maxCandidates} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				conns := replay(t, n, func(_ int, server, client *tls.Config) { prepare(server, client) })
				for i, conn := range conns {
					if stats := conn.Stats(); stats.Deferral != DeferralOn || stats.ReleasedRecords < 1 {
						t.Errorf("connection %d: %+v", i, stats)
					}
				}
			})
		}
	}
}

// One of the replaying connections may be TLS 1.2, which logs its secret under
// the same client_random. That says nothing about the others.
func TestReplayOverTLS12DoesNotTurnDeferralOff(t *testing.T) {
	conns := replay(t, 4, func(i int, server, client *tls.Config) {
		handshakes["client certificate"](server, client) // the ticket comes late
		if i != 0 {
			client.MaxVersion = tls.VersionTLS12
		}
	})
	mustEqual(t, "deferral", DeferralOn.String(), conns[0].Stats().Deferral.String())
}

// More of them than the registry keeps under one client_random work as well;
// the oldest run undeferred.
func TestBoundedReplays(t *testing.T) {
	conns := replay(t, 3*maxSameRandom, func(_ int, server, client *tls.Config) {
		get := server.GetConfigForClient
		server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			config, err := get(hello)
			if n := registered(); n > maxSameRandom {
				t.Errorf("%d gates are registered under one client_random", n)
			}
			return config, err
		}
	})
	for _, conn := range conns {
		conn.Close()
	}
	mustEqual(t, "registered after Close", 0, registered())
}

// A gate is in the registry from its ClientHello to its epoch, and not longer.
func TestRegistryForgetsWhenTheEpochIsFound(t *testing.T) {
	a, b := tlstest.TCPPair(t)
	server := WrapConn(a)
	serverConfig := testCA.ServerConfig()
	during := 0
	serverConfig.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		during = registered()
		return nil, nil
	}
	s, c := tls.Server(server, WrapConfig(serverConfig)), tls.Client(b, resumable())
	shake(t, s, c)
	mustEqual(t, "registered in the handshake", 1, during)
	mustEqual(t, "registered after it", 0, registered())
}

// A handshake that stops anywhere leaves nothing behind once it is closed.
func TestRegistryForgetsFailedHandshakes(t *testing.T) {
	for _, clientBytes := range []int{0, 1, 5, 43, 44, 200} {
		a, b := tlstest.TCPPair(t)
		conn := WrapConn(a)
		hello := helloRecords(1000)
		mustWrite(t, b, hello[:min(clientBytes, len(hello))])
		b.CloseWrite()
		s := tls.Server(conn, WrapConfig(testCA.ServerConfig()))
		if err := s.Handshake(); err == nil {
			t.Errorf("%d bytes: no error", clientBytes)
		}
		s.Close()
		mustEqual(t, "registered", 0, registered())
	}
}

// A Conn that is dropped without Close is collected and takes its entry along.
func TestRegistryForgetsDroppedConns(t *testing.T) {
	for range 20 {
		a, b := tlstest.TCPPair(t)
		mustWrite(t, b, helloRecords(1000))
		mustRead(t, WrapConn(a), 100)
		mustWrite(t, WrapConn(b), helloRecords(1000)) // a client's
	}
	if registered() == 0 {
		t.Fatal("nothing was registered: this test proves nothing")
	}
	if !registryDrains() {
		t.Errorf("%d gates are registered that nobody can reach", registered())
	}
}

// Client and server may be in one process, under one client_random.
func TestBothSidesInOneProcess(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		a, b := tlstest.TCPPair(t)
		sc, cc := WrapConn(a), WrapConn(b)
		clientConfig := resumable()
		clientConfig.MaxVersion = version
		server, client := tls.Server(sc, WrapConfig(testCA.ServerConfig())), tls.Client(cc, WrapConfig(clientConfig))
		shake(t, server, client)
		exchange(t, client, server, "request")
		exchange(t, server, client, "response")
		want := map[uint16]Deferral{tls.VersionTLS12: DeferralTLS12, tls.VersionTLS13: DeferralOn}[version]
		mustEqual(t, "server", want.String(), sc.Stats().Deferral.String())
		mustEqual(t, "client", want.String(), cc.Stats().Deferral.String())
		mustEqual(t, "registered", 0, registered())
	}
}
