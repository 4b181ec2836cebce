package tlsstream_test

import (
	"crypto/tls"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
)

// A ticketPath makes one connection, on which the client gets a ticket, and
// reports whether it was resumed.
type ticketPath struct {
	name    string
	connect func(t *testing.T, clientConfig, serverConfig *tls.Config) (resumed bool)
}

func stackPath(s stack) ticketPath {
	return ticketPath{s.name, func(t *testing.T, clientConfig, serverConfig *tls.Config) bool {
		t.Helper()
		a, b := membio.Pipe(wide(1 << 20))
		client, server := stockStack.client(a, clientConfig), s.server(b, serverConfig)
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		resumed := server.ConnectionState().DidResume
		client.Close()
		server.Close()
		return resumed
	}}
}

var enginePath = ticketPath{"engine", func(t *testing.T, clientConfig, serverConfig *tls.Config) bool {
	t.Helper()
	client, server := newEngines(t, clientConfig, serverConfig, everything)
	send(t, server, client, []byte{1}, everything)
	return server.ConnectionState().DidResume
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
					resumed := func(path ticketPath) (history []bool) {
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
					want := resumed(stackPath(stockStack))
					for _, path := range []ticketPath{stackPath(streamStack), stackPath(listenerStack), enginePath} {
						if diff := cmp.Diff(want, resumed(path)); diff != "" {
							t.Errorf("%s: DidResume, -crypto/tls +got:\n%s", path.name, diff)
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
	want := map[string][]bool{
		"automatic":        {false, true, true},
		"SessionTicketKey": {false, true},
		"set before":       {false, true},
		"set later":        {false, false, true},
		"set twice":        {false, true, true, false, true},
		"disabled":         {false, false},
	}
	got := map[string][]bool{}
	for _, scenario := range ticketScenarios {
		clientConfig, serverConfig := ticketConfigs()
		scenario.run(serverConfig, func() {
			resumed := stackPath(stockStack).connect(t, clientConfig, serverConfig)
			got[scenario.name] = append(got[scenario.name], resumed)
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
		history := []bool{
			path.connect(t, clientConfig, serverConfig),
			path.connect(t, clientConfig, serverConfig),
		}
		if diff := cmp.Diff([]bool{false, true}, history); diff != "" {
			t.Errorf("%s: DidResume, -want +got:\n%s", path.name, diff)
		}
		if wrapped != 2 || unwrapped != 1 {
			t.Errorf("%s: WrapSession called %d times, UnwrapSession %d", path.name, wrapped, unwrapped)
		}
	}
}
