package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// keyUpdate returns KeyUpdate (RFC 8446 4.6.3); request is 1 for
// update_requested.
func keyUpdate(request byte) []byte { return []byte{24, 0, 0, 1, request} }

// A peer's request for new keys is answered with the next Write, in front of its
// data, and not before.
func TestCloseReadAnswersKeyUpdatesAtTheNextWrite(t *testing.T) {
	inNoReaders(t, tlsstream.Options{}, func(t *testing.T, n *noReader) {
		if err := n.conn.CloseRead(); err != nil {
			t.Fatal(err)
		}
		writes := n.transport.writes.Load()
		n.peer.send(contentHandshake, keyUpdate(1)...)
		if err := n.peer.out.Update(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if stats := n.conn.Stats(); stats.HeldRecords != 1 || stats.KeyUpdates != 1 {
			t.Errorf("%+v", stats)
		}
		if n.transport.writes.Load() != writes {
			t.Error("the answer was sent out of turn")
		}
		go func() {
			if _, err := n.conn.Write([]byte("data")); err != nil {
				t.Error(err)
			}
		}()
		kind, content := n.peer.receive()
		if diff := cmp.Diff(keyUpdate(0), content); diff != "" || kind != contentHandshake {
			t.Errorf("record of type %d, -want +got:\n%s", kind, diff)
		}
		if err := n.peer.in.Update(); err != nil {
			t.Fatal(err)
		}
		if kind, content := n.peer.receive(); kind != contentData || string(content) != "data" {
			t.Errorf("record of type %d, %q", kind, content)
		}
		if n.transport.writes.Load() != writes+1 {
			t.Errorf("%d writes", n.transport.writes.Load()-writes)
		}
		// And the peer's new keys are in use.
		n.peer.send(contentAlert, levelFatal, byte(tlsstream.AlertInternalError))
		synctest.Wait()
		if got := alertIn(n.conn.Err()); got.Alert != tlsstream.AlertInternalError {
			t.Errorf("Err: %v", n.conn.Err())
		}
	})
}

// A tellingCache tells what is put into it.
type tellingCache struct {
	tls.ClientSessionCache
	put chan struct{}
}

func (c *tellingCache) Put(key string, state *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, state)
	c.put <- struct{}{}
}

// The ticket of a server that sends it late is kept, though nobody reads, and
// resumes. A client that only writes never sees it without CloseRead.
func TestCloseReadKeepsTickets(t *testing.T) {
	for name, closeRead := range map[string]bool{"CloseRead": true, "neither Read nor CloseRead": false} {
		t.Run(name, func(t *testing.T) {
			cache := &tellingCache{tls.NewLRUClientSessionCache(4), make(chan struct{}, 4)}
			clientConfig, serverConfig := endConfigs()
			clientConfig.ClientSessionCache = cache
			clientConfig.Certificates = []tls.Certificate{endCA.Client("alice")}
			serverConfig.ClientAuth = tls.RequestClientCert // so the ticket has a flight of its own
			o := tlsstream.Options{DrainTimeout: -1}        // a drain would see it, too
			for i := range 2 {
				clientConn, serverConn := tlstest.TCPPair(t)
				client, server := o.Client(clientConn, clientConfig), tls.Server(serverConn, serverConfig)
				received := make(chan []byte, 1)
				go func() {
					data, _ := io.ReadAll(server)
					received <- data
				}()
				if err := client.Handshake(); err != nil {
					t.Fatal(err)
				}
				if resumed := client.ConnectionState().DidResume; resumed != (closeRead && i == 1) {
					t.Errorf("connection %d: resumed %v", i, resumed)
				}
				if closeRead {
					if err := client.CloseRead(); err != nil {
						t.Fatal(err)
					}
					select {
					case <-cache.put:
					case <-time.After(endPatience):
						t.Fatal("no ticket")
					}
				}
				client.Write([]byte("data"))
				if err := client.CloseWrite(); err != nil {
					t.Error(err)
				}
				if data := <-received; string(data) != "data" {
					t.Errorf("the server received %q", data)
				}
				client.Close()
				serverConn.Close()
			}
		})
	}
}

// A drain keeps them as well.
func TestCloseKeepsTickets(t *testing.T) {
	cache := &tellingCache{tls.NewLRUClientSessionCache(4), make(chan struct{}, 4)}
	clientConfig, serverConfig := endConfigs()
	clientConfig.ClientSessionCache = cache
	serverConfig.ClientAuth = tls.RequestClientCert
	clientConn, serverConn := tlstest.TCPPair(t)
	client, server := tlsstream.Client(clientConn, clientConfig), tls.Server(serverConn, serverConfig)
	go func() {
		io.Copy(io.Discard, server)
		server.Close()
	}()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-cache.put:
	default:
		t.Error("no ticket")
	}
}

// goroutinesIn counts the goroutines that run a function of the given name.
func goroutinesIn(name string) int {
	buf := make([]byte, 1<<20)
	return bytes.Count(buf[:runtime.Stack(buf, true)], []byte(name+"("))
}

// CloseRead costs one goroutine, as its doc says, however often it is called, and
// Close ends it, whatever the peer does.
func TestCloseReadCostsOneGoroutine(t *testing.T) {
	const name = "readForNobody"
	await := func(want int) {
		t.Helper()
		for began := time.Now(); goroutinesIn(name) != want; runtime.Gosched() {
			if time.Since(began) > endPatience {
				t.Fatalf("%d goroutines, want %d", goroutinesIn(name), want)
			}
		}
	}
	for _, end := range []func(c *tlsstream.Conn, p *scriptedPeer){
		func(c *tlsstream.Conn, p *scriptedPeer) { c.Close() },
		func(c *tlsstream.Conn, p *scriptedPeer) { c.Abort(tlsstream.AlertInternalError) },
		func(c *tlsstream.Conn, p *scriptedPeer) { p.conn.Close() },
		func(c *tlsstream.Conn, p *scriptedPeer) { p.send(contentAlert, levelWarning, 0) },
		func(c *tlsstream.Conn, p *scriptedPeer) { p.send(contentData, 'x') },
	} {
		clientConn, serverConn := tlstest.TCPPair(t)
		client := (&tlsstream.Options{DrainTimeout: -1}).Client(clientConn, endCA.ClientConfig())
		peer := scriptPeer(t, serverConn, false, endCA.ServerConfig(), client.Handshake)
		await(0)
		for range 3 {
			if err := client.CloseRead(); err != nil {
				t.Fatal(err)
			}
		}
		await(1)
		end(client, peer)
		await(0)
		client.Close()
	}
}
