package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

const (
	tracedOn    = "deferral on"
	tracedHeld  = "held ticket, 1 in all"
	tracedClose = "sent close_notify"
	tracedPeer  = "received close_notify"
)

// traceTable has all that is told of one upload and one download. The deferral is
// found to be on with the first record of the application epoch, which is the ticket on
// a server; or else, where this package runs the handshake, when that is complete.
var traceTable = []struct {
	name           string
	pair           tracedPair
	up             bool
	client, server []string
}{
	{
		name: "Conn/upload", pair: tracedStreams, up: true,
		client: []string{tracedOn, tracedClose, "drain close, 2s", tracedPeer, "drain ended: peer ended"},
		server: []string{tracedOn, tracedHeld, tracedPeer, "released 1: alert", tracedClose},
	},
	{
		name: "Conn/download", pair: tracedStreams,
		client: []string{tracedOn, tracedPeer, tracedClose},
		server: []string{tracedOn, tracedHeld, "released 1: data", tracedClose},
	},
	{
		name: "tls.Conn/upload", pair: tracedTLSConns, up: true,
		client: []string{tracedOn, tracedClose},
		server: []string{tracedOn, tracedHeld, "released 1: alert", tracedClose},
	},
	{
		name: "tls.Conn/download", pair: tracedTLSConns,
		client: []string{tracedOn, tracedClose},
		server: []string{tracedOn, tracedHeld, "released 1: data", tracedClose},
	},
}

func TestTraceTellsOfUploadAndDownload(t *testing.T) {
	t.Parallel()
	for _, test := range traceTable {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var clientLog, serverLog traceLog
			clientConfig, serverConfig := ticketConfigs()
			client, server := test.pair(t, &clientLog, &serverLog, clientConfig, serverConfig)
			from, to := server, client
			if test.up {
				from, to = client, server
			}
			transfer(t, from, to)
			clientLog.expect(t, "the client", test.client...)
			serverLog.expect(t, "the server", test.server...)
			if serverLog.conn != server || clientLog.conn != client {
				t.Errorf("told of %T and %T", clientLog.conn, serverLog.conn)
			}
			stats, _ := tlsstream.StatsOf(server)
			if serverLog.held == 0 || serverLog.held != serverLog.freed || int64(serverLog.freed) != stats.ReleasedBytes {
				t.Errorf("told of %d bytes held and %d released; Stats: %+v", serverLog.held, serverLog.freed, stats)
			}
		})
	}
}

// transfer sends 1 MiB and closes both.
func transfer(t testing.TB, from, to secureConn) {
	t.Helper()
	data := randomBytes(1, 1<<20)
	done := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		done <- errors.Join(err, from.Close())
	}()
	got, err := io.ReadAll(to)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes arrived, and %v", len(got), err)
	}
	if err := to.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTraceTellsOfAnEngine(t *testing.T) {
	t.Parallel()
	var clientLog, serverLog traceLog
	clientConfig, serverConfig := ticketConfigs()
	client := clientLog.options().ClientEngine(clientConfig)
	server := serverLog.options().ServerEngine(serverConfig)
	joinEngines(t, client, server, everything)
	send(t, client, server, []byte("up"), everything)
	if err := server.FlushTickets(); err != nil {
		t.Fatal(err)
	}
	send(t, server, client, []byte("down"), everything)
	client.Close()
	carry(t, client, server, everything, nil)
	if _, err := readReady(server); err != io.EOF {
		t.Error(err)
	}
	server.Close()
	clientLog.expect(t, "the client", tracedOn, tracedClose)
	serverLog.expect(t, "the server", tracedOn, tracedHeld, "released 1: flush", tracedPeer, tracedClose)
	if serverLog.conn != nil {
		t.Errorf("told of %T", serverLog.conn)
	}
}

// tracedStack is s with a Trace on its servers.
func tracedStack(s stack, log *traceLog) stack {
	server := func(c net.Conn, config *tls.Config) secureConn { return log.options().Server(c, config) }
	if s.name == listenerStack.name {
		server = func(c net.Conn, config *tls.Config) secureConn {
			accepted, err := log.options().NewListener(&oneListener{conn: c}, config).Accept()
			if err != nil {
				panic(err)
			}
			return accepted.(*tls.Conn)
		}
	}
	return stack{name: s.name, client: s.client, server: server}
}

// Six requests of a peer that the application does not answer, then a write: four
// answers are held one by one, then they become one.
func TestTraceTellsOfKeyUpdates(t *testing.T) {
	t.Parallel()
	const requests = 6
	for _, s := range []stack{streamStack, listenerStack} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var log traceLog
			client, server := newRequester(t, tracedStack(s, &log), wide(64<<10))
			client.request(requests)
			if _, err := io.ReadFull(server, make([]byte, requests)); err != nil {
				t.Fatal(err)
			}
			want := []string{
				tracedOn,
				"update seen 1", "held update, 1 in all",
				"update seen 1", "held update, 2 in all",
				"update seen 1", "held update, 3 in all",
				"update seen 1", "held update, 4 in all",
				"update seen 1", "update collapsed 3", "update collapsed 1",
				"update seen 1", "update collapsed 1",
			}
			if answersHeld(s.name, requests) == 1 {
				want = append(want[:3], slices.Repeat([]string{"update seen 1", "update collapsed 1"}, requests-1)...)
			}
			log.expect(t, "before the write the server", want...)
			if _, err := server.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			log.expect(t, "after the write the server", append(want, "released 1: data", "update answered 1")...)
		})
	}
}

// A KeyUpdate is told at once, though the Read that answered it goes on waiting.
func TestTraceDoesNotWaitForRead(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{streamStack, listenerStack} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var log traceLog
			client, server := newRequester(t, tracedStack(s, &log), wide(64<<10))
			read := make(chan error, 1)
			go func() {
				_, err := server.Read(make([]byte, 1))
				read <- err
			}()
			client.transport.Write(sealKeyUpdate(t, client.out, nil))
			log.expect(t, "the server", tracedOn, "update seen 1", "held update, 1 in all")
			server.NetConn().Close()
			<-read
		})
	}
}

func TestTraceTellsThatDeferralIsOff(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string]tracedPair{"Conn": tracedStreams, "tls.Conn": tracedTLSConns} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var clientLog, serverLog traceLog
			clientConfig, serverConfig := ticketConfigs()
			clientConfig.MaxVersion = tls.VersionTLS12
			client, server := pair(t, &clientLog, &serverLog, clientConfig, serverConfig)
			off := "deferral off: TLS 1.2 or older"
			clientLog.expect(t, "the client", off)
			serverLog.expect(t, "the server", off)
			client.Close()
			clientLog.expect(t, "the client", off, "sent unknown")
			server.Close()
			serverLog.expect(t, "the server", off, "sent unknown")
		})
	}
}
