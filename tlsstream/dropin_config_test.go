package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A dropIn makes a connection on one path, uses it both ways, and returns what
// both sides know of it.
type dropIn struct {
	name string
	run  func(t *testing.T, clientConfig, serverConfig *tls.Config) (client, server dropInState)
}

type dropInState struct {
	tls.ConnectionState
	deferral ticketdefer.Deferral
}

var dropIns = []dropIn{
	{"Conn", func(t *testing.T, c, s *tls.Config) (client, server dropInState) {
		return useDialed(t, dial(t, true, c, s))
	}},
	{"Listener and Dialer", func(t *testing.T, c, s *tls.Config) (client, server dropInState) {
		return useDialed(t, dial(t, false, c, s))
	}},
	{"Engine", func(t *testing.T, c, s *tls.Config) (client, server dropInState) {
		ce, se := newEngines(t, c, s, everything)
		send(t, ce, se, []byte("data"), everything)
		send(t, se, ce, []byte("data"), everything)
		return dropInState{ce.ConnectionState(), ce.Stats().Deferral}, dropInState{se.ConnectionState(), se.Stats().Deferral}
	}},
}

func useDialed(t *testing.T, d dialed) (client, server dropInState) {
	t.Helper()
	echo(t, d.client, d.server)
	c, _ := tlsstream.StatsOf(d.client)
	s, _ := tlsstream.StatsOf(d.server)
	return dropInState{d.client.(secureConn).ConnectionState(), c.Deferral},
		dropInState{d.server.(secureConn).ConnectionState(), s.Deferral}
}

// forDropIns runs a configuration on every path. Both sides must defer.
func forDropIns(t *testing.T, configs func() (client, server *tls.Config), check func(t *testing.T, client, server dropInState)) {
	t.Parallel()
	for _, d := range dropIns {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			clientConfig, serverConfig := configs()
			client, server := d.run(t, clientConfig, serverConfig)
			check(t, client, server)
			want := ticketdefer.DeferralOn
			if client.Version == tls.VersionTLS12 {
				want = ticketdefer.DeferralTLS12
			}
			if client.deferral != want || server.deferral != want {
				t.Errorf("deferral of client: %v, of server: %v, want %v", client.deferral, server.deferral, want)
			}
		})
	}
}

// wantBoth checks what both sides say.
func wantBoth[T any](t *testing.T, what string, want T, client, server T) {
	t.Helper()
	if diff := cmp.Diff([]T{want, want}, []T{client, server}); diff != "" {
		t.Errorf("%s of client and server, -want +got:\n%s", what, diff)
	}
}

func TestALPN(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, server = ticketConfigs()
		client.NextProtos = []string{"imap", "pop3"}
		server.NextProtos = []string{"pop3", "smtp"}
		return client, server
	}, func(t *testing.T, client, server dropInState) {
		wantBoth(t, "NegotiatedProtocol", "pop3", client.NegotiatedProtocol, server.NegotiatedProtocol)
	})
}

func TestSNI(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, server = ticketConfigs()
		client.ServerName = "b.example"
		server.Certificates = append(server.Certificates, testCA.Server("a.example"), testCA.Server("b.example"))
		return client, server
	}, func(t *testing.T, client, server dropInState) {
		wantBoth(t, "ServerName", "b.example", client.ServerName, server.ServerName)
		if diff := cmp.Diff([]string{"b.example"}, client.PeerCertificates[0].DNSNames); diff != "" {
			t.Errorf("the server's certificate, -want +got:\n%s", diff)
		}
	})
}

func TestMutualTLS(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, server = ticketConfigs()
		mutual(client, server)
		return client, server
	}, func(t *testing.T, _, server dropInState) {
		if len(server.VerifiedChains) == 0 || server.PeerCertificates[0].Subject.CommonName != "alice" {
			t.Errorf("the client's certificates: %v", server.PeerCertificates)
		}
	})
}

func TestGetConfigForClient(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, _ = ticketConfigs()
		client.NextProtos = []string{"chosen"}
		chosen := testCA.ServerConfig()
		chosen.NextProtos = []string{"chosen"}
		return client, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if hello.ServerName != "localhost" {
				return nil, errors.New("no such host")
			}
			return chosen, nil
		}}
	}, func(t *testing.T, client, server dropInState) {
		wantBoth(t, "NegotiatedProtocol", "chosen", client.NegotiatedProtocol, server.NegotiatedProtocol)
	})
}

func TestHelloRetryRequest(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, server = ticketConfigs()
		client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
		server.CurvePreferences = []tls.CurveID{tls.CurveP384}
		return client, server
	}, func(t *testing.T, client, server dropInState) {
		wantBoth(t, "HelloRetryRequest", true, client.HelloRetryRequest, server.HelloRetryRequest)
	})
}

func TestTLS12(t *testing.T) {
	forDropIns(t, func() (client, server *tls.Config) {
		client, server = ticketConfigs()
		client.MaxVersion = tls.VersionTLS12
		return client, server
	}, func(t *testing.T, client, server dropInState) {
		wantBoth(t, "Version", tls.VersionTLS12, client.Version, server.Version)
	})
}

// A KeyLogWriter of the user's gets every line that it gets from crypto/tls.
func TestKeyLogWriterIsKept(t *testing.T) {
	var all sync.Mutex
	logs := map[*tls.Config]*labelLog{}
	var stockConfigs []*tls.Config
	configs := func() (client, server *tls.Config) {
		client, server = ticketConfigs()
		all.Lock()
		defer all.Unlock()
		for _, c := range []*tls.Config{client, server} {
			logs[c] = &labelLog{}
			c.KeyLogWriter = logs[c]
		}
		stockConfigs = []*tls.Config{client, server}
		return client, server
	}
	clientConfig, serverConfig := configs()
	stackPath(stockStack).connect(t, clientConfig, serverConfig)
	want := logs[stockConfigs[0]].labels()
	if len(want) == 0 {
		t.Fatal("crypto/tls logs nothing")
	}
	for _, d := range dropIns {
		clientConfig, serverConfig := configs()
		d.run(t, clientConfig, serverConfig)
		wantBoth(t, d.name+": labels", want, logs[clientConfig].labels(), logs[serverConfig].labels())
	}
}

type labelLog struct{ tlstest.Buffer }

// labels are the first words of the lines, in order.
func (l *labelLog) labels() (labels []string) {
	for line := range strings.Lines(l.String()) {
		labels = append(labels, strings.Fields(line)[0])
	}
	return labels
}

// An error of a KeyLogWriter ends the handshake, as with crypto/tls.
func TestKeyLogWritersErrorIsKept(t *testing.T) {
	t.Parallel()
	errLog := errors.New("disk full")
	clientConfig, serverConfig := ticketConfigs()
	clientConfig.KeyLogWriter = writerFunc(func([]byte) (int, error) { return 0, errLog })
	client, server := tlsstream.NewClientEngine(clientConfig), tlsstream.NewServerEngine(serverConfig)
	defer client.Close()
	defer server.Close()
	client.Handshake()
	server.Feed(takeAll(client))
	server.Handshake()
	client.Feed(takeAll(server))
	if err := client.Handshake(); !errors.Is(err, errLog) {
		t.Errorf("Handshake: %v", err)
	}
}

// VerifyConnection may refuse the peer; both sides' errors tell.
func TestVerifyConnectionIsKept(t *testing.T) {
	t.Parallel()
	errRefused := errors.New("refused")
	clientConfig := testCA.ClientConfig()
	clientConfig.VerifyConnection = func(tls.ConnectionState) error { return errRefused }
	a, b := membio.Pipe(wide(1 << 16))
	client, server := tlsstream.Client(a, clientConfig), tlsstream.Server(b, testCA.ServerConfig())
	defer client.Close()
	defer server.Close()
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(server)
		done <- err
	}()
	if err := client.Handshake(); !errors.Is(err, errRefused) {
		t.Errorf("the client: %v", err)
	}
	if err := <-done; !isRemoteAlert(err) {
		t.Errorf("the server: %v", err)
	}
}
