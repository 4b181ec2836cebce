package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// crypto/tls keeps its alert type to itself. This package takes the number out of
// its error by reflection, and a new Go release may hide it elsewhere: then this is
// the test that fails, and alertOf in alert.go is what to repair.
func TestAlertNumberIsFoundInErrorsOfThisGoRelease(t *testing.T) {
	type shape struct {
		Op   string
		Kind reflect.Kind
		Text string
	}
	shapeOf := func(err error) shape {
		var op *net.OpError
		if !errors.As(err, &op) {
			t.Fatalf("%T %v is no *net.OpError", err, err)
		}
		return shape{op.Op, reflect.ValueOf(op.Err).Kind(), op.Err.Error()}
	}
	clientConn, serverConn := tlstest.TCPPair(t)
	client := tls.Client(clientConn, endCA.ClientConfig())
	peer := scriptPeer(t, serverConn, false, endCA.ServerConfig(), client.Handshake)
	peer.send(contentAlert, levelFatal, byte(tlsstream.AlertInternalError))
	_, err := client.Read(make([]byte, 1))
	if diff := cmp.Diff(shape{"remote error", reflect.Uint8, "tls: internal error"}, shapeOf(err)); diff != "" {
		t.Errorf("the peer's alert, -want +got:\n%s", diff)
	}

	clientConn, serverConn = tlstest.TCPPair(t)
	client = tls.Client(clientConn, endCA.ClientConfig())
	peer = scriptPeer(t, serverConn, false, endCA.ServerConfig(), client.Handshake)
	peer.send(99, 0) // no such content type
	_, err = client.Read(make([]byte, 1))
	if diff := cmp.Diff(shape{"local error", reflect.Uint8, "tls: unexpected message"}, shapeOf(err)); diff != "" {
		t.Errorf("this side's alert, -want +got:\n%s", diff)
	}
}

// Every number that the peer can send arrives as that number, known or not.
func TestAlertOfThePeerKeepsItsNumber(t *testing.T) {
	config := endCA.ServerConfig()
	config.CurvePreferences = []tls.CurveID{tls.X25519}
	for n := 1; n < 256; n++ {
		if n == int(tlsstream.AlertUserCanceled) {
			continue // not fatal, and ignored by crypto/tls
		}
		clientConn, serverConn := tlstest.TCPPair(t)
		client := tlsstream.Client(clientConn, endCA.ClientConfig())
		peer := scriptPeer(t, serverConn, false, config, client.Handshake)
		peer.send(contentAlert, levelFatal, byte(n))
		_, err := client.Read(make([]byte, 1))
		want := alertSeen{tlsstream.Alert(n), true}
		if diff := cmp.Diff(want, alertIn(err)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		clientConn.Close()
		serverConn.Close()
	}
}

// An alertSeen is what an AlertError says.
type alertSeen struct {
	Alert  tlsstream.Alert
	Remote bool
}

// alertIn finds the AlertError in err; close_notify stands for none.
func alertIn(err error) alertSeen {
	if a := (*tlsstream.AlertError)(nil); errors.As(err, &a) {
		return alertSeen{a.Alert, a.Remote}
	}
	return alertSeen{}
}

// A record that does not authenticate ends both sides with the same alert.
func TestBothEndsNameTheSameAlert(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			clientConn, serverConn := tlstest.TCPPair(t)
			config := endCA.ClientConfig()
			config.MaxVersion = version
			client := tlsstream.Client(clientConn, config)
			server := tlsstream.Server(serverConn, endCA.ServerConfig())
			done := make(chan error, 1)
			go func() { done <- server.Handshake() }()
			if err := errors.Join(client.Handshake(), <-done); err != nil {
				t.Fatal(err)
			}
			forged := make([]byte, 5+64)
			copy(forged, []byte{contentData, 3, 3, 0, 64})
			if _, err := clientConn.Write(forged); err != nil {
				t.Fatal(err)
			}
			_, serverErr := server.Read(make([]byte, 1))
			_, serverWriteErr := server.Write(make([]byte, 1))
			_, clientErr := client.Read(make([]byte, 1))
			got := map[string]alertSeen{"client": alertIn(clientErr), "server": alertIn(serverErr), "server's Write": alertIn(serverWriteErr)}
			want := map[string]alertSeen{
				"client": {tlsstream.AlertBadRecordMAC, true},
				"server": {tlsstream.AlertBadRecordMAC, false},

				"server's Write": {tlsstream.AlertBadRecordMAC, false},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A brokenConn is a TCP connection whose sending side can be broken, as by a reset
// that has overtaken nothing: what the peer sent before can still be read.
type brokenConn struct {
	*net.TCPConn
	broken atomic.Pointer[syscall.Errno]
}

func (c *brokenConn) breakWith(err syscall.Errno) { c.broken.Store(&err) }

func (c *brokenConn) Write(p []byte) (int, error) {
	if err := c.broken.Load(); err != nil {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", *err)}
	}
	return c.TCPConn.Write(p)
}

// An ender is what *tls.Conn and *tlsstream.Conn have in common.
type ender interface {
	net.Conn
	Handshake() error
	CloseWrite() error
}

// A peer that sends an alert and then resets the connection has told why. The
// call that runs into the reset must say so.
func TestThePeersAlertWinsOverItsReset(t *testing.T) {
	stock := func(c net.Conn) ender { return tls.Client(c, endCA.ClientConfig()) }
	ours := func(c net.Conn) ender { return tlsstream.Client(c, endCA.ClientConfig()) }
	calls := map[string]func(ender) error{
		"Write":      func(c ender) error { _, err := c.Write([]byte("data")); return err },
		"CloseWrite": ender.CloseWrite,
		"Close":      ender.Close,
	}
	for _, row := range []struct {
		stack  string
		client func(net.Conn) ender
		call   string
		want   alertSeen
	}{
		{"stdlib", stock, "Write", alertSeen{}},
		{"stdlib", stock, "CloseWrite", alertSeen{}},
		{"stdlib", stock, "Close", alertSeen{}},
		{"tlsstream", ours, "Write", alertSeen{tlsstream.AlertAccessDenied, true}},
		{"tlsstream", ours, "CloseWrite", alertSeen{tlsstream.AlertAccessDenied, true}},
		{"tlsstream", ours, "Close", alertSeen{tlsstream.AlertAccessDenied, true}},
	} {
		for _, errno := range []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE} {
			t.Run(row.stack+"/"+row.call+"/"+errno.Error(), func(t *testing.T) {
				clientConn, serverConn := tlstest.TCPPair(t)
				broken := &brokenConn{TCPConn: clientConn}
				client := row.client(broken)
				defer client.Close()
				peer := scriptPeer(t, serverConn, false, endCA.ServerConfig(), client.Handshake)
				peer.send(contentData, 'x') // somebody may want it yet
				peer.send(contentAlert, levelFatal, byte(tlsstream.AlertAccessDenied))
				broken.breakWith(errno)
				err := calls[row.call](client)
				if !errors.Is(err, errno) {
					t.Errorf("the reset is not beneath %v", err)
				}
				if diff := cmp.Diff(row.want, alertIn(err)); diff != "" {
					t.Errorf("%v, -want +got:\n%s", err, diff)
				}
				if row.call == "Close" {
					return
				}
				data := make([]byte, 1)
				if _, err := client.Read(data); err != nil || data[0] != 'x' {
					t.Errorf("data before the alert: %q, %v", data, err)
				}
				if _, err := client.Read(data); alertIn(err) != (alertSeen{tlsstream.AlertAccessDenied, true}) && row.stack != "stdlib" {
					t.Errorf("after the data: %v", err)
				}
			})
		}
	}
}

// A starvedConn is a brokenConn of a process that is not given the processor: each
// deadline that is set passes before the first Read under it.
type starvedConn struct {
	*brokenConn
	starve atomic.Int32 // how many Reads more
}

func (c *starvedConn) Read(p []byte) (int, error) {
	if c.broken.Load() != nil && c.starve.Add(-1) >= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return c.brokenConn.Read(p)
}

// On a busy machine the alert wins, too.
func TestThePeersAlertWinsThoughADeadlineHasPassed(t *testing.T) {
	clientConn, serverConn := tlstest.TCPPair(t)
	starved := &starvedConn{brokenConn: &brokenConn{TCPConn: clientConn}}
	client := tlsstream.Client(starved, endCA.ClientConfig())
	defer client.Close()
	peer := scriptPeer(t, serverConn, false, endCA.ServerConfig(), client.Handshake)
	peer.send(contentAlert, levelFatal, byte(tlsstream.AlertAccessDenied))
	starved.starve.Store(2)
	starved.breakWith(syscall.ECONNRESET)
	if _, err := client.Write([]byte("data")); alertIn(err) != (alertSeen{tlsstream.AlertAccessDenied, true}) {
		t.Errorf("Write: %v", err)
	}
}

// What a deadline, a close, a cut and a reset are called, whoever finds them.
func TestErrorsMatchThoseOfTheTransport(t *testing.T) {
	read := func(c *tlsstream.Conn) error { _, err := c.Read(make([]byte, 1)); return err }
	write := func(c *tlsstream.Conn) error { _, err := c.Write(make([]byte, 1)); return err }
	writeUntilError := func(c *tlsstream.Conn) (err error) {
		for err == nil {
			err = write(c)
		}
		return err
	}
	for _, c := range []struct {
		name string
		act  func(c *tlsstream.Conn, peer *net.TCPConn)
		call func(*tlsstream.Conn) error
		want error
	}{
		{"read deadline", func(c *tlsstream.Conn, _ *net.TCPConn) { c.SetReadDeadline(time.Now()) }, read, os.ErrDeadlineExceeded},
		{"write deadline", func(c *tlsstream.Conn, _ *net.TCPConn) { c.SetWriteDeadline(time.Now()) }, write, os.ErrDeadlineExceeded},
		{"read after close", func(c *tlsstream.Conn, _ *net.TCPConn) { c.Close() }, read, net.ErrClosed},
		{"write after close", func(c *tlsstream.Conn, _ *net.TCPConn) { c.Close() }, write, net.ErrClosed},
		{"second close", func(c *tlsstream.Conn, _ *net.TCPConn) { c.Close() }, (*tlsstream.Conn).Close, net.ErrClosed},
		{"CloseWrite after close", func(c *tlsstream.Conn, _ *net.TCPConn) { c.Close() }, (*tlsstream.Conn).CloseWrite, net.ErrClosed},
		{"FlushTickets after close", func(c *tlsstream.Conn, _ *net.TCPConn) { c.Close() }, (*tlsstream.Conn).FlushTickets, net.ErrClosed},
		{"CloseRead after close", func(c *tlsstream.Conn, _ *net.TCPConn) { c.Close() }, (*tlsstream.Conn).CloseRead, net.ErrClosed},
		{"Abort after close", func(c *tlsstream.Conn, _ *net.TCPConn) { c.Close() }, func(c *tlsstream.Conn) error { return c.Abort(tlsstream.AlertInternalError) }, net.ErrClosed},
		{"Err after close", func(c *tlsstream.Conn, _ *net.TCPConn) { c.Close() }, (*tlsstream.Conn).Err, net.ErrClosed},
		{"write after CloseWrite", func(c *tlsstream.Conn, _ *net.TCPConn) { c.CloseWrite() }, write, net.ErrClosed},
		{"cut", func(_ *tlsstream.Conn, peer *net.TCPConn) { peer.CloseWrite() }, read, io.ErrUnexpectedEOF},
		{"reset, seen by Read", func(_ *tlsstream.Conn, peer *net.TCPConn) { peer.SetLinger(0); peer.Close() }, read, syscall.ECONNRESET},
		{"reset, seen by Write", func(_ *tlsstream.Conn, peer *net.TCPConn) {
			peer.SetLinger(0)
			peer.Close()
		}, writeUntilError, syscall.ECONNRESET},
	} {
		t.Run(c.name, func(t *testing.T) {
			clientConn, serverConn := tlstest.TCPPair(t)
			conn := (&tlsstream.Options{DrainTimeout: -1}).Client(clientConn, endCA.ClientConfig())
			scriptPeer(t, serverConn, false, endCA.ServerConfig(), conn.Handshake)
			c.act(conn, serverConn)
			if err := c.call(conn); !errors.Is(err, c.want) {
				t.Errorf("got %T %v, want %v", err, err, c.want)
			}
			conn.Close()
		})
	}
}
