package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

var abortBytes = flag.Int("abort.bytes", 32<<20, "bytes in large Writes before an Abort")

// A peer gets everything that was written, at the right sequence numbers, and then the alert.
func TestAbortReachesThePeer(t *testing.T) {
	abortNoLeak(t)
	const large = 9<<20 + 7
	tests := []struct {
		name            string
		written, before int // bytes that our side writes; that it receives before
	}{
		{"nothing has flowed", 0, 0},
		{"after a Write", 5, 0},
		{"after a Read", 0, 5},
		{"after megabytes each way", large, large},
	}
	for _, test := range tests {
		abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
			client, server := abortConfigs()
			us, them := abortPair(t, p, r, client, server, nil)
			go them.Write(make([]byte, test.before))
			if _, err := io.ReadFull(us, make([]byte, test.before)); err != nil {
				t.Fatal(err)
			}
			heard := abortListen(them)
			for left := test.written; left > 0; {
				n, err := us.Write(make([]byte, min(left, 100_003)))
				if err != nil {
					t.Fatal(err)
				}
				left -= n
			}
			if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
				t.Errorf("%s: Abort: %v", test.name, err)
			}
			(<-heard).wantAlert(t, test.written, tlsstream.AlertInternalError)
		})
	}
}

// The sequence number is right however much has been sent: past 2^16 records, and past gigabytes with -abort.bytes.
func TestAbortAfterManyRecords(t *testing.T) {
	for _, test := range []struct {
		name      string
		size, all int // of a Write, and of all of them, in bytes
	}{
		{"small", 1, 1<<16 + 2},
		{"large", 1 << 20, *abortBytes},
	} {
		for i, p := range abortPaths {
			t.Run(test.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				client, server := abortConfigs()
				us, them := abortPair(t, p, abortRoles[i], client, server, nil)
				type end struct {
					n   int64
					err error
				}
				heard := make(chan end, 1)
				go func() {
					defer them.Close()
					them.SetDeadline(time.Time{}) // this takes as long as it takes
					n, err := io.Copy(io.Discard, them)
					heard <- end{n, err}
				}()
				us.SetDeadline(time.Time{})
				data := make([]byte, test.size)
				for left := test.all; left > 0; left -= len(data) {
					data = data[:min(len(data), left)]
					if _, err := us.Write(data); err != nil {
						t.Fatal(err)
					}
				}
				if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
					t.Error(err)
				}
				e := <-heard
				if alert, ok := abortAlert(e.err); e.n != int64(test.all) || !ok || alert != tlsstream.AlertInternalError {
					t.Errorf("the peer received %d bytes and %v, want %d and the alert", e.n, e.err, test.all)
				}
			})
		}
	}
}

// The control: after Close the peer cannot tell that anything was wrong.
func TestCloseIsNoAbortControl(t *testing.T) {
	abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
		client, server := abortConfigs()
		us, them := abortPair(t, p, r, client, server, nil)
		heard := abortListen(them)
		if _, err := us.Write(make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		if err := us.Close(); err != nil {
			t.Error(err)
		}
		if h := <-heard; h.err != nil || len(h.data) != 5 {
			t.Errorf("the peer received %d bytes and %v, want 5 and no error", len(h.data), h.err)
		}
	})
}

// The ticket that is held leaves in front of the alert, in the same transport write.
func TestAbortTakesTheTicketAlong(t *testing.T) {
	for _, p := range abortPaths {
		t.Run(p.name, func(t *testing.T) {
			client, server := abortConfigs()
			us, them := abortPair(t, p, abortRoles[0], client, server, nil)
			stats, _ := tlsstream.StatsOf(us)
			if stats.HeldRecords == 0 {
				t.Fatal("nothing is held")
			}
			heard := abortListen(them)
			if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
				t.Error(err)
			}
			(<-heard).wantAlert(t, 0, tlsstream.AlertInternalError)
			if _, ok := client.ClientSessionCache.Get(client.ServerName); !ok {
				t.Error("the client has no ticket")
			}
		})
	}
}

// An alert follows held KeyUpdate answers, collapsed ones too, under the keys that the peer is in by then.
func TestAbortAfterKeyUpdates(t *testing.T) {
	for _, updates := range []int{1, 4, 5, 20} {
		for _, answers := range []string{"never", "each", "at the end"} {
			t.Run(fmt.Sprintf("%d/answered %s", updates, answers), func(t *testing.T) {
				abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
					testAbortAfterKeyUpdates(t, p, r, updates, answers)
				})
			})
		}
	}
}

func testAbortAfterKeyUpdates(t *testing.T, p abortPath, r abortRole, updates int, answers string) {
	client, server := abortConfigs()
	server.SessionTicketsDisabled = true // they would be numbered too
	log, side := &keyLog{}, "CLIENT"
	client.KeyLogWriter = log
	if r.name == "client" {
		side = "SERVER"
	}
	us, them := abortPair(t, p, r, client, server, nil)
	epoch := log.epoch(t, side, them.ConnectionState())
	heard := abortListen(them)
	written := 0
	answer := func() {
		n, err := us.Write([]byte("answer"))
		if err != nil {
			t.Fatal(err)
		}
		written += n
	}
	for range updates {
		// crypto/tls cannot send a KeyUpdate, so the test does, on the peer's socket.
		record := epoch.Seal(nil, 22, []byte{24, 0, 0, 1, 1}) // update_requested
		if err := epoch.Update(); err != nil {
			t.Fatal(err)
		}
		if _, err := them.NetConn().Write(epoch.Seal(record, 23, []byte{1})); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(us, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if answers == "each" {
			answer()
		}
	}
	if answers == "at the end" {
		answer()
		answer()
	}
	stats, _ := tlsstream.StatsOf(us)
	if stats.KeyUpdates != int64(updates) {
		t.Fatalf("%d KeyUpdates were answered, want %d", stats.KeyUpdates, updates)
	}
	apart := 4
	if _, ok := us.(*tlsstream.Conn); ok {
		apart = answersHeld(streamStack.name, apart)
	}
	if collapsed := stats.CollapsedKeyUpdates > 0; collapsed != (updates > apart && answers != "each") {
		t.Errorf("%d of %d KeyUpdates collapsed", stats.CollapsedKeyUpdates, updates)
	}
	if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
		t.Error(err)
	}
	(<-heard).wantAlert(t, written, tlsstream.AlertInternalError)
}

func TestAbortIsFinal(t *testing.T) {
	abortNoLeak(t)
	client, server := abortConfigs()
	us, them := abortPair(t, abortPaths[0], abortRoles[0], client, server, nil)
	c := us.(*tlsstream.Conn)
	heard := abortListen(them)
	if err := c.Abort(tlsstream.AlertInternalError); err != nil {
		t.Fatal(err)
	}
	(<-heard).wantAlert(t, 0, tlsstream.AlertInternalError)

	_, readErr := c.Read(make([]byte, 1))
	_, writeErr := c.Write([]byte("late"))
	for what, err := range map[string]error{
		"Read":         readErr,
		"Write":        writeErr,
		"FlushTickets": c.FlushTickets(),
		"CloseWrite":   c.CloseWrite(),
		"CloseRead":    c.CloseRead(),
		"Err":          c.Err(),
	} {
		wantAborted(t, what, err, tlsstream.AlertInternalError)
	}
	select {
	case <-c.Done():
	default:
		t.Error("Done is not closed")
	}
	if err := c.Abort(tlsstream.AlertAccessDenied); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Abort: %v", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
}

func TestAbortOfATLSConnIsFinal(t *testing.T) {
	abortNoLeak(t)
	client, server := abortConfigs()
	us, them := abortPair(t, abortPaths[1], abortRoles[0], client, server, nil)
	heard := abortListen(them)
	if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
		t.Fatal(err)
	}
	(<-heard).wantAlert(t, 0, tlsstream.AlertInternalError)
	if _, err := us.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if _, err := us.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	if err := tlsstream.Abort(us, tlsstream.AlertAccessDenied); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Abort: %v", err)
	}
}

// Nothing may follow close_notify (RFC 8446 6.1): an alert would not be looked at.
func TestAbortAfterTheEnd(t *testing.T) {
	abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
		client, server := abortConfigs()
		us, them := abortPair(t, p, r, client, server, nil)
		heard := abortListen(them)
		if err := us.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err == nil {
			t.Error("Abort after CloseWrite reports success")
		}
		if h := <-heard; h.err != nil {
			t.Errorf("the peer: %v", h.err)
		}
	})
	abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
		client, server := abortConfigs()
		us, them := abortPair(t, p, r, client, server, nil)
		heard := abortListen(them)
		us.Close()
		if err := tlsstream.Abort(us, tlsstream.AlertInternalError); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Abort after Close: %v", err)
		}
		if h := <-heard; h.err != nil {
			t.Errorf("the peer: %v", h.err)
		}
	})
}

func TestAbortNeedsOurLayer(t *testing.T) {
	client, server := abortConfigs()
	a, b := abortTCP(t)
	us, them := tls.Server(a, server), tls.Client(b, client)
	abortShake(t, us, them)
	if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err == nil {
		t.Error("Abort of a plain tls.Conn succeeded")
	}
	if _, err := us.Write([]byte("x")); err != nil { // it was left alone
		t.Error(err)
	}
}

// Codes of the application's own reach peers of both kinds.
func TestAbortCarriesPrivateAlerts(t *testing.T) {
	for n := 224; n <= 255; n++ {
		client, server := abortConfigs()
		us, them := abortPair(t, abortPaths[n%2], abortRoles[0], client, server, nil)
		heard := abortListen(them)
		if err := tlsstream.Abort(us, tlsstream.AlertApplication(n)); err != nil {
			t.Error(err)
		}
		(<-heard).wantAlert(t, 0, tlsstream.AlertApplication(n))
	}
	client, server := abortConfigs()
	a, b := abortTCP(t)
	us, them := tlsstream.Server(a, server), tlsstream.Client(b, client)
	abortShake(t, us, them)
	heard := abortListen(them)
	if err := us.Abort(tlsstream.AlertApplication(230)); err != nil {
		t.Error(err)
	}
	var alert *tlsstream.AlertError
	if h := <-heard; !errors.As(h.err, &alert) || alert.Alert != 230 || !alert.Remote {
		t.Errorf("our own peer: %v", h.err)
	}
}

// withoutKeys are connections whose traffic secrets the *tls.Conn path does not have.
var withoutKeys = []struct {
	name string
	path func(abortPath) abortPath
	max  uint16
}{
	{"TLS 1.2", func(p abortPath) abortPath { return p }, tls.VersionTLS12},
	{"WrapConfig forgotten", func(p abortPath) abortPath {
		if p.name == "Conn" {
			return p // it has its own
		}
		return abortPath{
			name:   p.name,
			client: func(c net.Conn, config *tls.Config) abortable { return tls.Client(ticketdefer.WrapConn(c), config) },
			server: func(c net.Conn, config *tls.Config) abortable { return tls.Server(ticketdefer.WrapConn(c), config) },
		}
	}, tls.VersionTLS13},
}

// Without keys crypto/tls is made to send an alert, in either role, whatever it has read ahead, and with a Read in
// progress.
func TestAbortWithoutKeys(t *testing.T) {
	for _, without := range withoutKeys {
		for _, ahead := range []int{-1, 0, 1, 40_000} { // bytes unread; -1 is a Read in progress
			abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
				abortNoLeak(t)
				client, server := abortConfigs()
				client.MaxVersion = without.max
				p = without.path(p)
				us, them := abortPair(t, p, r, client, server, nil)
				if _, err := them.Write(make([]byte, max(0, ahead)+1)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(us, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				read := make(chan struct{})
				go func() {
					defer close(read)
					if ahead < 0 {
						us.Read(make([]byte, 1))
					}
				}()
				heard := abortListen(them)
				if _, err := us.Write(make([]byte, 50_000)); err != nil {
					t.Fatal(err)
				}
				if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
					t.Errorf("%s, %d bytes unread: %v", without.name, ahead, err)
				}
				want := tlsstream.AlertBadRecordMAC
				if p.name == "Conn" && without.max == tls.VersionTLS13 {
					want = tlsstream.AlertInternalError
				}
				(<-heard).wantAlert(t, 50_000, want)
				<-read
				if _, err := us.Write([]byte("late")); err == nil {
					t.Error("a later Write succeeded")
				}
			})
		}
	}
}

// The longest record of TLS 1.2, of which crypto/tls has a part, does not keep the alert from being sent.
func TestAbortWithoutKeysInsideARecord(t *testing.T) {
	abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
		var valve *abortValve
		client, server := abortConfigs()
		client.MaxVersion = tls.VersionTLS12
		us, them := abortPair(t, p, r, client, server, func(c *net.TCPConn) net.Conn {
			valve = newAbortValve(c, -1, -1)
			return valve
		})
		const longest = 16<<10 + 2048 // RFC 5246 6.2.3
		part := []byte{23, 3, 3, longest >> 8, longest & 0xff, 'x'}
		valve.in.limit(len(part))
		if _, err := them.NetConn().Write(part); err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			us.Read(make([]byte, 1))
		}()
		<-valve.in.blocked
		heard := abortListen(them)
		if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
			t.Error(err)
		}
		(<-heard).wantAlert(t, 0, tlsstream.AlertBadRecordMAC)
		<-read
	})
}

// The record that a Write is stuck in is completed there, too.
func TestAbortWithoutKeysInterruptsAWrite(t *testing.T) {
	for _, without := range withoutKeys {
		for _, at := range []int{0, 1, 5, 30, 61} {
			abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
				const size = 40
				var valve *abortValve
				client, server := abortConfigs()
				client.MaxVersion = without.max
				server.SessionTicketsDisabled = true
				us, them := abortPair(t, without.path(p), r, client, server, func(c *net.TCPConn) net.Conn {
					valve = newAbortValve(c, -1, -1)
					return valve
				})
				valve.out.limit(at)
				heard := abortListen(them)
				written := make(chan error, 1)
				go func() {
					_, err := us.Write(make([]byte, size))
					written <- err
				}()
				<-valve.out.blocked
				if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
					t.Errorf("%s, at %d: %v", without.name, at, err)
				}
				if err := <-written; err == nil {
					t.Error("the Write in progress succeeded")
				}
				h := <-heard
				if _, ok := abortAlert(h.err); !ok || len(h.data) != size {
					t.Errorf("%s, at %d: the peer received %d bytes and %v, want %d and an alert", without.name, at, len(h.data), h.err, size)
				}
			})
		}
	}
}

// Where there is no *tls.Conn to make use of, the error says so, and the peer sees a stream without close_notify.
func TestAbortWithoutKeysAndWithoutTheStack(t *testing.T) {
	for _, r := range abortRoles {
		t.Run(r.name, func(t *testing.T) {
			client, server := abortConfigs()
			client.MaxVersion = tls.VersionTLS12
			us, them := abortPair(t, abortPaths[1], r, client, server, nil)
			bare := make(chan []byte, 1)
			go func() {
				p, _ := io.ReadAll(them.NetConn())
				bare <- p
			}()
			if err := tlsstream.Abort(us.(*tls.Conn).NetConn(), tlsstream.AlertInternalError); !errors.Is(err, ticketdefer.ErrNoKeys) {
				t.Errorf("Abort: %v, want ErrNoKeys", err)
			}
			if p := <-bare; len(p) > 0 {
				t.Errorf("the peer received %d bytes, want none", len(p))
			}
			if _, err := us.Write([]byte("late")); err == nil {
				t.Error("a later Write succeeded")
			}
		})
	}
}

// A peer that sends all the time is told to stop: the alert overtakes nothing and no RST overtakes the alert.
func TestAbortReachesAPeerThatUploads(t *testing.T) {
	for _, p := range abortPaths {
		t.Run(p.name, func(t *testing.T) {
			client, server := abortConfigs()
			us, them := abortPair(t, p, abortRoles[0], client, server, nil)
			ended := make(chan error, 1)
			go func() {
				defer them.Close()
				chunk := bytes.Repeat([]byte{1}, 64<<10)
				for range 64 {
					if _, err := them.Write(chunk); err != nil {
						break // the alert says why
					}
				}
				_, err := them.Read(make([]byte, 1))
				ended <- err
			}()
			if _, err := io.ReadFull(us, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := tlsstream.Abort(us, tlsstream.AlertAccessDenied); err != nil {
				t.Error(err)
			}
			err := <-ended
			abortHeard{err: err}.wantAlert(t, 0, tlsstream.AlertAccessDenied)
		})
	}
}

// Abort waits for a peer that does not answer, and no longer than it says.
func TestAbortWaitsForThePeersEnd(t *testing.T) {
	client, server := abortConfigs()
	p := abortStream(tlsstream.Options{DrainTimeout: 300 * time.Millisecond})
	us, _ := abortPair(t, p, abortRoles[0], client, server, nil)
	start := time.Now()
	err := tlsstream.Abort(us, tlsstream.AlertInternalError)
	if took := time.Since(start); took < 250*time.Millisecond || took > 5*time.Second {
		t.Errorf("Abort took %v, want about 300 ms", took)
	}
	if err == nil {
		t.Error("Abort says that a peer which did not end the connection has seen the alert")
	}
}
