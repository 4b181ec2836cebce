package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// handshakeGoroutines counts the goroutines of suspended handshakes, when they
// are want or after a while. Only tests that are not parallel can call it.
func handshakeGoroutines(want int) (got int) {
	stacks := make([]byte, 4<<20)
	for start := time.Now(); time.Since(start) < 5*time.Second; runtime.Gosched() {
		all := stacks[:runtime.Stack(stacks, true)]
		got = strings.Count(string(all), "created by github.com/deferredtls/deferredtls/tlsstream.")
		if got == want {
			break // else one may be on its last instructions
		}
	}
	return got
}

// An idle engine has no goroutine: a server's before its ClientHello, both after
// the handshake, and both after Close, even of a suspended handshake.
func TestEngineHasNoGoroutine(t *testing.T) {
	const n = 50
	clientConfig, serverConfig := ticketConfigs()
	cheap(clientConfig, serverConfig)
	var servers, clients []*tlsstream.Engine
	for range n {
		server, client := tlsstream.NewServerEngine(serverConfig), tlsstream.NewClientEngine(clientConfig)
		if err := server.Handshake(); err != tlsstream.ErrWantRead {
			t.Fatal(err)
		}
		servers, clients = append(servers, server), append(clients, client)
	}
	if got := handshakeGoroutines(0); got != 0 {
		t.Errorf("before the ClientHello: %d goroutines", got)
	}
	for _, client := range clients {
		client.Handshake()
	}
	if got := handshakeGoroutines(n); got != n {
		t.Errorf("the count is blind: %d goroutines for %d suspended handshakes", got, n)
	}
	for i := range n / 2 {
		joinEngines(t, clients[i], servers[i], everything)
		send(t, clients[i], servers[i], []byte("data"), everything)
	}
	if got := handshakeGoroutines(n / 2); got != n/2 {
		t.Errorf("%d handshakes done and %d suspended: %d goroutines", n/2, n/2, got)
	}
	for i := range n {
		clients[i].Close()
		servers[i].Close()
	}
	if got := handshakeGoroutines(0); got != 0 {
		t.Errorf("after Close: %d goroutines", got)
	}
}

// handshaker is an Engine or a Conn that is about to call GetCertificate.
type handshaker interface {
	Handshake() error
	Close() error
}

// inGetCertificate returns a server's engine and conn whose next Handshake calls
// callback.
func inGetCertificate(t *testing.T, callback func()) map[string]handshaker {
	t.Helper()
	clientConfig, serverConfig := ticketConfigs()
	certificate := &serverConfig.Certificates[0]
	serverConfig.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		callback()
		return certificate, nil
	}
	serverConfig.Certificates = nil
	client := tlsstream.NewClientEngine(clientConfig)
	defer client.Close()
	client.Handshake()
	hello := takeAll(client)

	engine := tlsstream.NewServerEngine(serverConfig)
	engine.Feed(hello)
	a, b := membio.Pipe(wide(1 << 16))
	a.Write(hello)
	conn := tlsstream.Server(b, serverConfig)
	t.Cleanup(func() {
		engine.Close()
		conn.Close()
		a.Close()
	})
	return map[string]handshaker{"Engine": engine, "Conn": conn}
}

// A panic in a callback comes out of the call that ran the handshake, where
// net/http recovers it, and not on a goroutine of ours, where it ends the program.
func TestPanicComesOutOfHandshake(t *testing.T) {
	for name, h := range inGetCertificate(t, func() { panic("boom") }) {
		t.Run(name, func(t *testing.T) {
			func() {
				defer func() {
					if diff := cmp.Diff(any("boom"), recover()); diff != "" {
						t.Errorf("recovered, -want +got:\n%s", diff)
					}
				}()
				h.Handshake()
			}()
			if err := h.Handshake(); err == nil || err == tlsstream.ErrWantRead {
				t.Errorf("Handshake after a panic: %v", err)
			}
		})
	}
	if got := handshakeGoroutines(0); got != 0 {
		t.Errorf("%d goroutines left", got)
	}
}

// The same for runtime.Goexit, which is what t.Fatal in a callback calls.
func TestGoexitComesOutOfHandshake(t *testing.T) {
	for name, h := range inGetCertificate(t, runtime.Goexit) {
		t.Run(name, func(t *testing.T) {
			ended, returned := make(chan struct{}), false
			go func() {
				defer close(ended)
				h.Handshake()
				returned = true
			}()
			<-ended
			if returned {
				t.Error("Handshake returned")
			}
			if err := h.Handshake(); err == nil || err == tlsstream.ErrWantRead {
				t.Errorf("Handshake after a Goexit: %v", err)
			}
		})
	}
	if got := handshakeGoroutines(0); got != 0 {
		t.Errorf("%d goroutines left", got)
	}
}

// A callback may close the connection that it is called for.
func TestCloseInACallbackDoesNotDeadlock(t *testing.T) {
	var h handshaker
	for name, server := range inGetCertificate(t, func() { h.Close() }) {
		t.Run(name, func(t *testing.T) {
			h = server
			if err := h.Handshake(); err == nil || err == tlsstream.ErrWantRead {
				t.Errorf("Handshake: %v", err)
			}
		})
	}
	if got := handshakeGoroutines(0); got != 0 {
		t.Errorf("%d goroutines left", got)
	}
}

// Each step of a handshake may come from another goroutine, locked to its thread
// or not, as in an event loop. (Resuming an iter.Pull that was started under
// another LockOSThread state ends the process.)
func TestEngineStepsFromLockedThreads(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	client, server := tlsstream.NewClientEngine(clientConfig), tlsstream.NewServerEngine(serverConfig)
	defer client.Close()
	defer server.Close()
	locked := false
	onNextThread := func(f func()) {
		done := make(chan struct{})
		lock := locked
		locked = !locked
		go func() {
			defer close(done)
			if lock {
				runtime.LockOSThread()
			}
			f()
		}()
		<-done
	}
	for range 2 {
		for _, e := range []struct{ from, to *tlsstream.Engine }{{client, server}, {server, client}} {
			onNextThread(func() { e.from.Handshake() })
			for _, b := range takeAll(e.from) {
				e.to.Feed([]byte{b})
				onNextThread(func() { e.to.Handshake() })
			}
		}
	}
	if !client.ConnectionState().HandshakeComplete || !server.ConnectionState().HandshakeComplete {
		t.Error("the handshake is not complete")
	}
}

// Close may come at any moment of a handshake.
func TestEngineCloseRacesWithHandshake(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	cheap(clientConfig, serverConfig)
	hello := tlsstream.NewClientEngine(clientConfig)
	defer hello.Close()
	hello.Handshake()
	flight := takeAll(hello)
	for range 100 {
		server := tlsstream.NewServerEngine(serverConfig)
		server.Feed(flight[:len(flight)-1])
		server.Handshake()
		var both sync.WaitGroup
		both.Go(func() {
			server.Feed(flight[len(flight)-1:])
			server.Handshake()
		})
		both.Go(func() { server.Close() })
		both.Wait()
		var failed *tlsstream.HandshakeError
		if err := server.Handshake(); err == nil || err == tlsstream.ErrWantRead {
			t.Fatalf("Handshake after Close: %v (%t)", err, errors.As(err, &failed))
		}
	}
}

// Close may come during the very last step, which reads no more and so does not
// notice: the engine is closed all the same.
func TestEngineCloseInTheLastStep(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	var client *tlsstream.Engine
	clientConfig.KeyLogWriter = writerFunc(func(line []byte) (int, error) {
		if strings.HasPrefix(string(line), "CLIENT_TRAFFIC_SECRET_0") {
			client.Close()
		}
		return len(line), nil
	})
	client = tlsstream.NewClientEngine(clientConfig)
	server := tlsstream.NewServerEngine(serverConfig)
	defer server.Close()
	client.Handshake()
	server.Feed(takeAll(client))
	server.Handshake()
	client.Feed(takeAll(server))
	if err := client.Handshake(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Handshake: %v", err)
	}
	due := client.Pending()
	if n, err := client.Write([]byte("late")); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %d, %v", n, err)
	}
	if n := client.Pending() - due; n != 0 {
		t.Errorf("%d bytes more are due after Close", n)
	}
}

// Close may come at any moment after it, too, whatever the others do.
func TestEngineCloseRacesWithEverything(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	cheap(clientConfig, serverConfig)
	for range 30 {
		client, server := newEngines(t, clientConfig, serverConfig, everything)
		client.Write(make([]byte, 50_000))
		stream := takeAll(client)
		var all sync.WaitGroup
		all.Go(func() {
			for range 20 {
				n, _ := server.Feed(stream)
				stream = stream[n:]
				server.Read(make([]byte, 5000))
			}
			server.FeedEOF()
		})
		all.Go(func() {
			for range 20 {
				server.Write(make([]byte, 5000))
				server.Take(make([]byte, 3000))
				server.FlushTickets()
			}
			server.CloseWrite()
		})
		all.Go(func() {
			for range 20 {
				server.Stats()
				server.ConnectionState()
			}
		})
		all.Go(func() { server.Close() })
		all.Wait()
		if _, err := server.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Write after Close: %v", err)
		}
	}
}

// ConnectionState does not wait for a handshake that is suspended.
func TestConnectionStateBeforeCompletion(t *testing.T) {
	t.Parallel()
	clientConfig, _ := ticketConfigs()
	engine := tlsstream.NewClientEngine(clientConfig)
	defer engine.Close()
	engine.Handshake()
	a, b := membio.Pipe(wide(1 << 16))
	defer b.Close()
	conn := tlsstream.Client(a, clientConfig)
	defer conn.Close()
	if n, err := a.Unread(), conn.SetReadDeadline(longAgo); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := conn.Handshake(); err == nil {
		t.Fatal("handshake without a peer")
	}
	for name, state := range map[string]tls.ConnectionState{
		"Engine": engine.ConnectionState(), "Conn": conn.ConnectionState(),
	} {
		if state.HandshakeComplete || state.Version != 0 || state.PeerCertificates != nil {
			t.Errorf("%s: %+v", name, state)
		}
	}
	if err := conn.VerifyHostname("localhost"); err == nil {
		t.Error("VerifyHostname before the handshake succeeded")
	}
	if got := conn.OCSPResponse(); got != nil {
		t.Errorf("OCSPResponse: %v", got)
	}
}

// crypto/tls makes the session cache's key of RemoteAddr when there is no
// ServerName, and an engine has none.
func TestSessionCacheWithoutServerName(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	clientConfig.ServerName = ""
	clientConfig.InsecureSkipVerify = true
	client, server := newEngines(t, clientConfig, serverConfig, everything)
	want := []byte("ticket and data")
	mustEqual(t, "data", send(t, server, client, want, everything), want)
}
