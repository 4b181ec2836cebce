package tlsstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

func TestTraceTellsOfAbort(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string]tracedPair{"Conn": tracedStreams, "tls.Conn": tracedTLSConns} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var clientLog, serverLog traceLog
			clientConfig, serverConfig := ticketConfigs()
			client, server := pair(t, &clientLog, &serverLog, clientConfig, serverConfig)
			aborted := make(chan error, 1)
			go func() { aborted <- tlsstream.Abort(server, tlsstream.AlertInternalError) }()
			if _, err := client.Read(make([]byte, 1)); err == nil {
				t.Error("the client has read something")
			}
			client.NetConn().Close()
			if err := <-aborted; err != nil {
				t.Error(err)
			}
			serverLog.expect(t, "the server", tracedOn, tracedHeld, "released 1: alert", "sent internal_error",
				"drain abort, 2s", "drain ended: peer ended")
			if name == "Conn" {
				clientLog.expect(t, "the client", tracedOn, "received internal_error")
			}
		})
	}
}

// A server that wants a certificate, and a client that has none.
func TestTraceTellsOfRefusal(t *testing.T) {
	t.Parallel()
	x, y := tlstest.TCPPair(t)
	var clientLog, serverLog traceLog
	clientConfig, serverConfig := endConfigs()
	certificateNeeded(nil, serverConfig)
	client, server := clientLog.options().Client(x, clientConfig), serverLog.options().Server(y, serverConfig)
	failed := make(chan error, 1)
	go func() {
		defer server.Close()
		failed <- server.Handshake()
	}()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); alertIn(err).Alert != tlsstream.AlertCertificateRequired {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("the server has accepted a client without a certificate")
	}
	client.Close()
	clientLog.expect(t, "the client", tracedOn, "received certificate_required", "sent close_notify")
	serverLog.expect(t, "the server", tracedOn, "sent certificate_required", "drain refusal, 2s", "drain ended: peer ended")
}

// The same, where crypto/tls does the I/O, and the client's handshake fails.
func TestTraceTellsOfRefusalOfTLSConns(t *testing.T) {
	t.Parallel()
	var clientLog, serverLog traceLog
	clientConfig, serverConfig := endConfigs()
	serverConfig.NextProtos, clientConfig.NextProtos = []string{"a"}, []string{"b"}
	l := serverLog.options().NewListener(endListen(t), serverConfig)
	failed := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.(*tls.Conn).Handshake()
			c.Close()
		}
		failed <- err
	}()
	dialer := tlsstream.Dialer{Config: clientConfig, Options: *clientLog.options()}
	if c, err := dialer.DialContext(context.Background(), "tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Fatal("the handshake did not fail")
	}
	if err := <-failed; err == nil {
		t.Error("the handshake did not fail")
	}
	clientLog.expect(t, "the client", "received no_application_protocol")
	serverLog.expect(t, "the server", "sent no_application_protocol", "drain refusal, 2s", "drain ended: peer ended")
}

// A client that has only written closes. The server is crypto/tls alone: tickets
// lie unread, and the client waits for its end, or for the time to pass.
func TestTraceTellsOfDrainsAgainstStockServers(t *testing.T) {
	begin := []string{tracedOn, tracedClose, "drain close, 2s"}
	for _, test := range []struct {
		name   string
		server func(*tls.Conn)
		want   []string
	}{
		{"that closes", func(c *tls.Conn) { c.Close() }, []string{tracedPeer, "drain ended: peer ended"}},
		{"that closes the transport", func(c *tls.Conn) { c.NetConn().Close() }, []string{"drain ended: peer ended"}},
		{"that stays", func(*tls.Conn) {}, []string{"drain ended: timeout"}},
		{"that refuses", func(c *tls.Conn) { tlsstream.Abort(c, tlsstream.AlertAccessDenied) },
			[]string{"received access_denied", "drain ended: alert"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log traceLog
				clientConfig, serverConfig := endConfigs()
				ours, theirs := net.Pipe()
				transport := &drainPipe{Conn: ours}
				client := log.options().Client(transport, clientConfig)
				server := stockStack.server(theirs, serverConfig).(*tls.Conn)
				if test.name == "that refuses" { // stock has no Abort
					server = listenerStack.server(theirs, serverConfig).(*tls.Conn)
				}
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					io.Copy(io.Discard, server)
					test.server(server)
				}()
				if _, err := client.Write([]byte("upload")); err != nil {
					t.Fatal(err)
				}
				client.Close()
				<-gone
				theirs.Close()
				log.expect(t, "the client", append(begin, test.want...)...)
			})
		})
	}
}

// Whatever a function of a Trace calls, nothing waits for itself: no lock is held, not
// crypto/tls's process-wide one either, under which it logs secrets.
func TestTraceMayCallBack(t *testing.T) {
	t.Parallel()
	for _, test := range traceTable {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(test.name+"/"+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				also := func(c net.Conn) {
					conn := c.(secureConn)
					tlsstream.StatsOf(c)
					conn.ConnectionState()
					// A tls.Conn that is closed meanwhile sends no close_notify, and one that
					// only writes loses data to a ticket.
					_, ours := c.(*tlsstream.Conn)
					if ours {
						conn.Write(nil)
					}
					if ours || !test.up {
						tlsstream.FlushTickets(c)
					}
					logSecrets()
				}
				clientLog, serverLog := traceLog{also: also}, traceLog{also: also}
				clientConfig, serverConfig := ticketConfigs()
				clientConfig.MaxVersion = version
				client, server := test.pair(t, &clientLog, &serverLog, clientConfig, serverConfig)
				from, to := server, client
				if test.up {
					from, to = client, server
				}
				transfer(t, from, to)
				clientLog.await("sent ")
				serverLog.await("sent ")
			})
		}
	}
}

// logSecrets takes the lock under which crypto/tls logs secrets.
func logSecrets() {
	a, b := endCA.ClientConfig(), endCA.ServerConfig()
	a.KeyLogWriter, b.KeyLogWriter = io.Discard, io.Discard
	client, server := tlsstream.NewClientEngine(a), tlsstream.NewServerEngine(b)
	defer client.Close()
	defer server.Close()
	_ = client.Handshake()
	server.Feed(takeAll(client))
	_ = server.Handshake() // it wants the client's Finished, and has logged its secrets
}

// A function may end the connection that it is called for.
func TestTraceMayCloseItsConnection(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string]tracedPair{"Conn": tracedStreams, "tls.Conn": tracedTLSConns} {
		for _, end := range []func(net.Conn){
			func(c net.Conn) { c.Close() },
			func(c net.Conn) { tlsstream.Abort(c, tlsstream.AlertInternalError) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var armed onceFlag
				closing := make(chan struct{})
				serverLog := traceLog{also: func(c net.Conn) {
					if armed.spend() {
						end(c)
						close(closing)
					}
				}}
				clientConfig, serverConfig := ticketConfigs()
				client, server := pair(t, &traceLog{}, &serverLog, clientConfig, serverConfig)
				go func() {
					io.Copy(io.Discard, client)
					client.NetConn().Close()
				}()
				armed.arm()
				tlsstream.FlushTickets(server)
				<-closing
				if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Write after that: %v", err)
				}
			})
		}
	}
}
