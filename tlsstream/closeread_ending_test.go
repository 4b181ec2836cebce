package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A countedPipe is an end of a net.Pipe that counts what is written to it.
type countedPipe struct {
	net.Conn
	writes atomic.Int32
}

func (c *countedPipe) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A noReader is one of our streams, a client or a server, that only writes, and
// its scripted peer.
type noReader struct {
	conn      *tlsstream.Conn
	transport *countedPipe
	peer      *scriptedPeer
}

func newNoReader(t *testing.T, server bool, o tlsstream.Options) *noReader {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { theirs.Close() })
	n := &noReader{transport: &countedPipe{Conn: ours}}
	peerConfig := endCA.ServerConfig()
	if server {
		n.conn = o.Server(n.transport, endCA.ServerConfig())
		peerConfig = endCA.ClientConfig()
	} else {
		n.conn = o.Client(n.transport, endCA.ClientConfig())
	}
	n.peer = scriptPeer(t, theirs, server, peerConfig, n.conn.Handshake)
	return n
}

// inNoReaders runs f in a bubble for a client and for a server.
func inNoReaders(t *testing.T, o tlsstream.Options, f func(*testing.T, *noReader)) {
	for name, server := range map[string]bool{"client": false, "server": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNoReader(t, server, o)
				f(t, n)
				n.peer.conn.Close() // and Close has nobody to wait for
				n.conn.Close()
				synctest.Wait()
			})
		})
	}
}

// ended reports whether Done is closed.
func (n *noReader) ended() bool {
	select {
	case <-n.conn.Done():
		return true
	default:
		return false
	}
}

// How the peer's stream ends shows at once, without a Read, and without CloseRead
// it does not show.
func TestCloseReadShowsHowThePeerEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*scriptedPeer)
		is   error
		want alertSeen
	}{
		{"close_notify", func(p *scriptedPeer) { p.send(contentAlert, levelWarning, 0) }, io.EOF, alertSeen{}},
		{"alert", func(p *scriptedPeer) { p.send(contentAlert, levelFatal, byte(tlsstream.AlertInternalError)) }, nil, alertSeen{tlsstream.AlertInternalError, true}},
		{"cut", func(p *scriptedPeer) { p.conn.Close() }, tlsstream.ErrTruncated, alertSeen{}},
		{"cut inside a record", func(p *scriptedPeer) {
			p.conn.Write(p.out.Seal(nil, contentData, []byte("data"))[:10])
			p.conn.Close()
		}, io.ErrUnexpectedEOF, alertSeen{}},
		{"garbage", func(p *scriptedPeer) {
			go io.Copy(io.Discard, p.conn) // an alert
			p.conn.Write(make([]byte, 5))
		}, nil, alertSeen{tlsstream.AlertProtocolVersion, false}},
		{"data", func(p *scriptedPeer) { p.send(contentData, 'x') }, nil, alertSeen{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inNoReaders(t, tlsstream.Options{}, func(t *testing.T, n *noReader) {
				if err := n.conn.CloseRead(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if n.ended() || n.conn.Err() != nil {
					t.Fatalf("ended before the peer has: %v", n.conn.Err())
				}
				c.end(n.peer)
				synctest.Wait()
				if !n.ended() {
					t.Fatal("Done is open")
				}
				writes := n.transport.writes.Load()
				_, writeErr := n.conn.Write([]byte("data"))
				for what, err := range map[string]error{"Err": n.conn.Err(), "Write": writeErr} {
					if err == nil || c.is != nil && !errors.Is(err, c.is) {
						t.Errorf("%s: %v, want %v", what, err, c.is)
					}
					if diff := cmp.Diff(c.want, alertIn(err)); diff != "" {
						t.Errorf("%s: %v, -want +got:\n%s", what, err, diff)
					}
				}
				if n.transport.writes.Load() != writes {
					t.Error("Write wrote, though nobody receives")
				}
				if _, err := n.conn.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("Read: %v", err)
				}
			})
			inNoReaders(t, tlsstream.Options{}, func(t *testing.T, n *noReader) {
				go c.end(n.peer) // nobody takes it
				synctest.Wait()
				if n.ended() {
					t.Error("without CloseRead, and without a Read, the end was noticed: then the test above proves nothing")
				}
			})
		})
	}
}

// A reset by a kernel's TCP shows, too.
func TestCloseReadShowsAReset(t *testing.T) {
	clientConn, serverConn := tlstest.TCPPair(t)
	client := tlsstream.Client(clientConn, endCA.ClientConfig())
	defer client.Close()
	scriptPeer(t, serverConn, false, endCA.ServerConfig(), client.Handshake)
	if err := client.CloseRead(); err != nil {
		t.Fatal(err)
	}
	serverConn.SetLinger(0)
	serverConn.Close()
	select {
	case <-client.Done():
	case <-time.After(endPatience):
		t.Fatal("Done is open")
	}
	if err := client.Err(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Err: %v", err)
	}
	if _, err := client.Write([]byte("data")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Write: %v", err)
	}
}

// With the option the peer may say what it likes: FTP servers do not, but some log
// servers acknowledge.
func TestCloseReadDropsDataByOption(t *testing.T) {
	inNoReaders(t, tlsstream.Options{DropAfterCloseRead: true}, func(t *testing.T, n *noReader) {
		if err := n.conn.CloseRead(); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			n.peer.send(contentData, make([]byte, 1<<14)...)
		}
		synctest.Wait()
		if n.ended() {
			t.Fatalf("ended: %v", n.conn.Err())
		}
		go func() {
			if _, err := n.conn.Write([]byte("data")); err != nil {
				t.Error(err)
			}
		}()
		if kind, content := n.peer.receive(); kind != contentData || string(content) != "data" {
			t.Errorf("the peer received %d %q", kind, content)
		}
		n.peer.send(contentAlert, levelFatal, byte(tlsstream.AlertInternalError))
		synctest.Wait()
		if got := alertIn(n.conn.Err()); got.Alert != tlsstream.AlertInternalError {
			t.Errorf("Err: %v", n.conn.Err())
		}
	})
}

// Deadlines are for those who wait. The goroutine of CloseRead waits for nobody.
func TestDeadlinesDoNotEndCloseRead(t *testing.T) {
	inNoReaders(t, tlsstream.Options{}, func(t *testing.T, n *noReader) {
		n.conn.SetReadDeadline(time.Unix(1, 0))
		if err := n.conn.CloseRead(); err != nil {
			t.Fatal(err)
		}
		for _, d := range []time.Time{time.Now().Add(time.Second), time.Unix(1, 0), {}, time.Now().Add(time.Minute)} {
			if err := n.conn.SetDeadline(d); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if n.ended() {
				t.Fatalf("a deadline ended it: %v", n.conn.Err())
			}
		}
		n.peer.send(contentAlert, levelFatal, byte(tlsstream.AlertInternalError))
		synctest.Wait()
		if got := alertIn(n.conn.Err()); got.Alert != tlsstream.AlertInternalError {
			t.Errorf("Err: %v", n.conn.Err())
		}
	})
}

// A Read that waits is told that there will be nothing to read.
func TestCloseReadEndsARead(t *testing.T) {
	inNoReaders(t, tlsstream.Options{}, func(t *testing.T, n *noReader) {
		ended := make(chan error, 3)
		for range cap(ended) {
			go func() {
				_, err := n.conn.Read(make([]byte, 1))
				ended <- err
			}()
		}
		synctest.Wait()
		if err := n.conn.CloseRead(); err != nil {
			t.Fatal(err)
		}
		for range cap(ended) {
			if err := <-ended; err != io.EOF {
				t.Errorf("Read: %v", err)
			}
		}
		// And what comes then is still noticed.
		n.peer.send(contentAlert, levelFatal, byte(tlsstream.AlertInternalError))
		synctest.Wait()
		if !n.ended() {
			t.Error("Done is open")
		}
	})
}

// CloseRead is a call like others: it handshakes, and fails where they fail.
func TestCloseReadRunsTheHandshake(t *testing.T) {
	clientConn, serverConn := tlstest.TCPPair(t)
	client := tlsstream.Client(clientConn, endCA.ClientConfig())
	server := tls.Server(serverConn, endCA.ServerConfig())
	go server.Handshake()
	if err := client.CloseRead(); err != nil || !client.ConnectionState().HandshakeComplete {
		t.Errorf("%v; handshake complete: %v", err, client.ConnectionState().HandshakeComplete)
	}
	serverConn.Close()
	client.Close()
	if err := client.CloseRead(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	clientConn, serverConn = tlstest.TCPPair(t)
	serverConn.Close()
	client = tlsstream.Client(clientConn, endCA.ClientConfig())
	defer client.Close()
	var h *tlsstream.HandshakeError
	if err := client.CloseRead(); !errors.As(err, &h) {
		t.Errorf("without a peer: %v", err)
	}
}
