package tlsstream_test

import (
	"crypto/tls"
	"io"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A ticketPath makes one connection, on which the client gets a ticket, and
// reports whether it was resumed, or that the handshake failed.
type ticketPath struct {
	name    string
	connect func(t *testing.T, clientConfig, serverConfig *tls.Config) handshakeKind
}

type handshakeKind string

const (
	full    handshakeKind = "full"
	resumed handshakeKind = "resumed"
	failed  handshakeKind = "failed"
)

func kindOf(state tls.ConnectionState) handshakeKind {
	if state.DidResume {
		return resumed
	}
	return full
}

func stackPath(s stack) ticketPath {
	return ticketPath{s.name, func(t *testing.T, clientConfig, serverConfig *tls.Config) handshakeKind {
		t.Helper()
		a, b := membio.Pipe(wide(1 << 20))
		client, server := stockStack.client(a, clientConfig), s.server(b, serverConfig)
		defer client.Close()
		defer server.Close()
		if err := handshakeBoth(client, server); err != nil {
			return failed
		}
		if _, err := server.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return kindOf(server.ConnectionState())
	}}
}

var enginePath = ticketPath{"engine", func(t *testing.T, clientConfig, serverConfig *tls.Config) handshakeKind {
	t.Helper()
	client, server := tlsstream.NewClientEngine(clientConfig), tlsstream.NewServerEngine(serverConfig)
	defer client.Close()
	defer server.Close()
	for !client.ConnectionState().HandshakeComplete || !server.ConnectionState().HandshakeComplete {
		clientErr := client.Handshake()
		carry(t, client, server, everything, nil)
		serverErr := server.Handshake()
		carry(t, server, client, everything, nil)
		for _, err := range []error{clientErr, serverErr} {
			if err != nil && err != tlsstream.ErrWantRead {
				return failed
			}
		}
	}
	send(t, server, client, []byte{1}, everything)
	return kindOf(server.ConnectionState())
}}

// ticketScenarios connect several times while the server's keys change.
var ticketScenarios = []struct {
	name string
	run  func(server *tls.Config, connect func())
}{
	{"automatic", func(_ *tls.Config, connect func()) {
		connect()
		connect()
		connect()
	}},
	{"SessionTicketKey", func(server *tls.Config, connect func()) {
		//lint:ignore SA1019 users still set it
		//lint:ignore SA1019 users still set it
		server.SessionTicketKey = [32]byte{1}
		connect()
		connect()
	}},
	{"set before", func(server *tls.Config, connect func()) {
		server.SetSessionTicketKeys([][32]byte{{1}})
		connect()
		connect()
	}},
	{"set later", func(server *tls.Config, connect func()) {
		connect()
		server.SetSessionTicketKeys([][32]byte{{1}})
		connect() // the automatic key is retired
		connect()
	}},
	{"set twice", func(server *tls.Config, connect func()) {
		server.SetSessionTicketKeys([][32]byte{{1}})
		connect()
		server.SetSessionTicketKeys([][32]byte{{2}, {1}})
		connect() // the old key still opens
		connect()
		server.SetSessionTicketKeys([][32]byte{{3}})
		connect() // the second is retired
		connect()
	}},
	{"disabled", func(server *tls.Config, connect func()) {
		connect()
		server.SessionTicketsDisabled = true
		connect()
	}},
}

// ticketServers are configurations whose keys a scenario changes.
var ticketServers = []struct {
	name string
	make func() (server, keys *tls.Config)
}{
	{"base", func() (server, keys *tls.Config) {
		c := testCA.ServerConfig()
		return c, c
	}},
	{"chosen, shared", func() (server, keys *tls.Config) {
		server, keys = testCA.ServerConfig(), testCA.ServerConfig()
		server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return keys, nil }
		return server, keys
	}},
	{"chosen, fresh", func() (server, keys *tls.Config) {
		server, keys = testCA.ServerConfig(), testCA.ServerConfig()
		server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return keys.Clone(), nil }
		return server, keys
	}},
	{"chosen, keys of the base", func() (server, keys *tls.Config) {
		server = testCA.ServerConfig()
		chosen := testCA.ServerConfig()
		server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return chosen, nil }
		return server, server
	}},
	{"nil chosen", func() (server, keys *tls.Config) {
		server = testCA.ServerConfig()
		server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		return server, server
	}},
}

// Ticket keys are the user's, on every path: connections resume, and stop
// resuming, exactly as with crypto/tls.
func TestTicketKeysAreAsWithCryptoTLS(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, server := range ticketServers {
			for _, scenario := range ticketScenarios {
				t.Run(tls.VersionName(version)+"/"+server.name+"/"+scenario.name, func(t *testing.T) {
					t.Parallel()
					history := func(path ticketPath) (history []handshakeKind) {
						clientConfig, _ := ticketConfigs()
						serverConfig, keys := server.make()
						clientConfig.MaxVersion = version
						cheap(clientConfig, serverConfig, keys)
						scenario.run(keys, func() {
							t.Helper()
							history = append(history, path.connect(t, clientConfig, serverConfig))
						})
						return history
					}
					want := history(stackPath(stockStack))
					for _, path := range []ticketPath{stackPath(streamStack), stackPath(listenerStack), enginePath} {
						if diff := cmp.Diff(want, history(path)); diff != "" {
							t.Errorf("%s: connections, -crypto/tls +got:\n%s", path.name, diff)
						}
					}
				})
			}
		}
	}
}

// The scenarios are no test if crypto/tls resumes never, or always.
func TestTicketKeysAreAsWithCryptoTLSControl(t *testing.T) {
	t.Parallel()
	want := map[string][]handshakeKind{
		"automatic":        {full, resumed, resumed},
		"SessionTicketKey": {full, resumed},
		"set before":       {full, resumed},
		"set later":        {full, full, resumed},
		"set twice":        {full, resumed, resumed, full, resumed},
		"disabled":         {full, full},
	}
	got := map[string][]handshakeKind{}
	for _, scenario := range ticketScenarios {
		clientConfig, serverConfig := ticketConfigs()
		scenario.run(serverConfig, func() {
			outcome := stackPath(stockStack).connect(t, clientConfig, serverConfig)
			got[scenario.name] = append(got[scenario.name], outcome)
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("crypto/tls, -want +got:\n%s", diff)
	}
}

// User hooks for sessions are called, and get and give what crypto/tls would.
func TestSessionHooksAreKept(t *testing.T) {
	t.Parallel()
	for _, path := range []ticketPath{stackPath(streamStack), stackPath(listenerStack), enginePath} {
		clientConfig, serverConfig := ticketConfigs()
		var wrapped, unwrapped int
		serverConfig.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
			wrapped++
			ss.Extra = append(ss.Extra, []byte("extra"))
			return serverConfig.EncryptTicket(cs, ss)
		}
		serverConfig.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			unwrapped++
			ss, err := serverConfig.DecryptTicket(identity, cs)
			if err == nil && ss != nil && cmp.Diff([][]byte{[]byte("extra")}, ss.Extra) != "" {
				t.Errorf("%s: Extra is %q", path.name, ss.Extra)
			}
			return ss, err
		}
		history := []handshakeKind{
			path.connect(t, clientConfig, serverConfig),
			path.connect(t, clientConfig, serverConfig),
		}
		if diff := cmp.Diff([]handshakeKind{full, resumed}, history); diff != "" {
			t.Errorf("%s: connections, -want +got:\n%s", path.name, diff)
		}
		if wrapped != 2 || unwrapped != 1 {
			t.Errorf("%s: WrapSession called %d times, UnwrapSession %d", path.name, wrapped, unwrapped)
		}
	}
}

// Keys may be changed while connections are made: the race detector judges.
func TestTicketKeysMayChangeAtAnyTime(t *testing.T) {
	t.Parallel()
	for _, server := range ticketServers[:2] {
		serverConfig, keys := server.make()
		cheap(serverConfig, keys)
		var all sync.WaitGroup
		for i := range byte(2) {
			for _, path := range []ticketPath{stackPath(streamStack), stackPath(listenerStack), enginePath} {
				all.Go(func() {
					clientConfig, _ := ticketConfigs()
					for range 3 {
						if path.connect(t, clientConfig, serverConfig) == failed {
							t.Errorf("%s, %s: the handshake failed", server.name, path.name)
						}
						keys.SetSessionTicketKeys([][32]byte{{i}, {i + 1}})
					}
				})
			}
		}
		all.Wait()
	}
}
