package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A Write that is stuck anywhere in a record is called back, the record is completed, and the alert comes behind it.
func TestAbortInterruptsAWriteAtEveryByteOfARecord(t *testing.T) {
	abortNoLeak(t)
	const size = 40
	for _, p := range abortPaths {
		for at := range size + 22 { // of a record of that much data
			t.Run(fmt.Sprintf("%s/%d", p.name, at), func(t *testing.T) {
				testAbortInterruptsAWrite(t, p, abortRoles[at%2], size, at)
			})
		}
	}
}

// The same where the Write is of several records: near each of their ends, and in their midst. What the peer receives
// ends with a record.
func TestAbortInterruptsAWriteOfManyRecords(t *testing.T) {
	const record = 16<<10 + 22 // on the wire
	for _, p := range abortPaths {
		for i := range 3 {
			for _, off := range []int{-1, 0, 1, 4, 5, 6, 8000} {
				if at := i*record + off; at >= 0 {
					t.Run(fmt.Sprintf("%s/%d", p.name, at), func(t *testing.T) {
						testAbortInterruptsAWrite(t, p, abortRoles[0], 100_000, at)
					})
				}
			}
		}
	}
}

func testAbortInterruptsAWrite(t *testing.T, p abortPath, r abortRole, size, at int) {
	var valve *abortValve
	client, server := abortConfigs()
	server.SessionTicketsDisabled = true
	us, them := abortPair(t, p, r, client, server, func(c *net.TCPConn) net.Conn {
		valve = newAbortValve(c, -1, -1)
		return valve
	})
	sent := make([]byte, size)
	for i := range sent {
		sent[i] = byte(i % 251)
	}
	valve.out.limit(at)
	heard := abortListen(them)
	written := make(chan error, 1)
	go func() {
		_, err := us.Write(sent)
		written <- err
	}()
	<-valve.out.blocked
	if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
		t.Error(err)
	}
	err := <-written
	if p.name == "Conn" {
		wantAborted(t, "the Write in progress", err, tlsstream.AlertInternalError)
	} else if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("the Write in progress: %v", err)
	}
	h := <-heard
	h.wantAlert(t, len(h.data), tlsstream.AlertInternalError)
	if !bytes.HasPrefix(sent, h.data) {
		t.Errorf("the %d bytes that the peer received are not those that were sent", len(h.data))
	}
	if size < 16<<10 && len(h.data) != size {
		t.Errorf("the peer received %d bytes of the record, want %d", len(h.data), size)
	}
}

// A Write that ran into the user's own deadline has left a part of a record on the wire.
func TestAbortAfterAWriteTimedOut(t *testing.T) {
	abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
		var valve *abortValve
		client, server := abortConfigs()
		us, them := abortPair(t, p, r, client, server, func(c *net.TCPConn) net.Conn {
			valve = newAbortValve(c, -1, -1)
			return valve
		})
		valve.out.limit(500)
		heard := abortListen(them)
		us.SetWriteDeadline(time.Now().Add(time.Millisecond))
		if _, err := us.Write(make([]byte, 1000)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		us.SetWriteDeadline(time.Time{})
		if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
			t.Error(err)
		}
		h := <-heard
		h.wantAlert(t, 1000, tlsstream.AlertInternalError)
	})
}

// The same stream without Abort ends inside the record, as crypto/tls has it, and not with a record that the Write has
// reported as failed.
func TestATimedOutWriteIsNotCompletedByClose(t *testing.T) {
	var valve *abortValve
	client, server := abortConfigs()
	us, them := abortPair(t, abortPaths[1], abortRoles[0], client, server, func(c *net.TCPConn) net.Conn {
		valve = newAbortValve(c, -1, -1)
		return valve
	})
	valve.out.limit(500)
	heard := abortListen(them)
	us.SetWriteDeadline(time.Now().Add(time.Millisecond))
	if _, err := us.Write(make([]byte, 1000)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	us.Close()
	if h := <-heard; len(h.data) != 0 || h.err == nil {
		t.Errorf("the peer received %d bytes, error %v; want none and an error", len(h.data), h.err)
	}
}

func TestAbortInterruptsARead(t *testing.T) {
	abortNoLeak(t)
	abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
		var valve *abortValve
		client, server := abortConfigs()
		us, them := abortPair(t, p, r, client, server, func(c *net.TCPConn) net.Conn {
			valve = newAbortValve(c, -1, -1)
			return valve
		})
		valve.in.limit(0)
		heard := abortListen(them)
		read := make(chan error, 1)
		go func() {
			_, err := us.Read(make([]byte, 1))
			read <- err
		}()
		<-valve.in.blocked
		if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
			t.Error(err)
		}
		err := <-read
		if p.name == "Conn" {
			wantAborted(t, "the Read in progress", err, tlsstream.AlertInternalError)
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the Read in progress: %v", err)
		}
		(<-heard).wantAlert(t, 0, tlsstream.AlertInternalError)
	})
}

func TestAbortEndsCloseRead(t *testing.T) {
	abortNoLeak(t)
	client, server := abortConfigs()
	us, them := abortPair(t, abortPaths[0], abortRoles[0], client, server, nil)
	c := us.(*tlsstream.Conn)
	if err := c.CloseRead(); err != nil {
		t.Fatal(err)
	}
	heard := abortListen(them)
	if err := c.Abort(tlsstream.AlertInternalError); err != nil {
		t.Error(err)
	}
	(<-heard).wantAlert(t, 0, tlsstream.AlertInternalError)
}

// Read and Write from several goroutines do not disturb the alert.
func TestAbortAmongReadsAndWrites(t *testing.T) {
	abortNoLeak(t)
	for range 10 {
		abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
			client, server := abortConfigs()
			us, them := abortPair(t, p, r, client, server, nil)
			heard := abortListen(them)
			busy := make(chan struct{})
			for range 3 {
				go func() {
					defer func() { busy <- struct{}{} }()
					for {
						if _, err := us.Write([]byte("x")); err != nil {
							return
						}
					}
				}()
				go func() {
					defer func() { busy <- struct{}{} }()
					us.Read(make([]byte, 1))
				}()
			}
			if err := tlsstream.Abort(us, tlsstream.AlertInternalError); err != nil {
				t.Error(err)
			}
			for range 6 {
				<-busy
			}
			h := <-heard
			h.wantAlert(t, len(h.data), tlsstream.AlertInternalError)
		})
	}
}

// With a transport that takes nothing any more Abort waits as long as it says, and then closes.
func TestAbortIsBounded(t *testing.T) {
	abortNoLeak(t)
	const wait = 200 * time.Millisecond
	tests := []struct {
		name     string
		options  tlsstream.Options
		deadline time.Duration
	}{
		{"CloseTimeout", tlsstream.Options{CloseTimeout: wait}, 0},
		{"write deadline", tlsstream.Options{}, wait},
		{"a later write deadline", tlsstream.Options{CloseTimeout: wait}, time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var valve *abortValve
			client, server := abortConfigs()
			us, them := abortPair(t, abortStream(test.options), abortRoles[0], client, server, func(c *net.TCPConn) net.Conn {
				valve = newAbortValve(c, -1, -1)
				return valve
			})
			valve.out.stays = true
			valve.out.limit(100)
			written := make(chan error, 1)
			go func() {
				_, err := us.Write(make([]byte, 1000))
				written <- err
			}()
			<-valve.out.blocked
			start := time.Now()
			if test.deadline > 0 {
				us.SetWriteDeadline(start.Add(test.deadline))
			}
			err := tlsstream.Abort(us, tlsstream.AlertInternalError)
			if took := time.Since(start); took < wait-20*time.Millisecond || took > wait+5*time.Second {
				t.Errorf("Abort took %v, want about %v", took, wait)
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Abort: %v, want a timeout", err)
			}
			wantAborted(t, "the Write in progress", <-written, tlsstream.AlertInternalError)
			if h := <-abortListen(them); h.err == nil || len(h.data) > 0 {
				t.Errorf("the peer received %d bytes and %v", len(h.data), h.err)
			}
		})
	}
}

// The same with a socket whose buffers are full.
func TestAbortIsBoundedWithAFullSendBuffer(t *testing.T) {
	const wait = 200 * time.Millisecond
	client, server := abortConfigs()
	p := abortStream(tlsstream.Options{CloseTimeout: wait})
	us, _ := abortPair(t, p, abortRoles[0], client, server, func(c *net.TCPConn) net.Conn {
		c.SetWriteBuffer(4 << 10)
		return c
	})
	for n := 1; n > 0; { // until nothing is taken any more
		var err error
		us.SetWriteDeadline(time.Now().Add(wait))
		if n, err = us.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	us.SetWriteDeadline(time.Time{})
	start := time.Now()
	err := tlsstream.Abort(us, tlsstream.AlertInternalError)
	if took := time.Since(start); took < wait-20*time.Millisecond || took > wait+5*time.Second {
		t.Errorf("Abort took %v, want about %v", took, wait)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Abort: %v, want a timeout", err)
	}
}

// How long Abort waits for a peer that takes nothing, and for one that does not end, to the nanosecond. A deadline of the
// user's makes it shorter, and never longer.
func TestAbortHonoursDeadlines(t *testing.T) {
	const (
		early = 300 * time.Millisecond
		late  = time.Hour
	)
	for _, test := range []struct {
		name        string
		takes       bool // the peer does
		write, read time.Duration
		want        time.Duration
	}{
		{"full, no deadline", false, 0, 0, closeDefault},
		{"full, write deadline", false, early, 0, early},
		{"full, late write deadline", false, late, 0, closeDefault},
		{"full, write deadline that has passed", false, -early, 0, 0},
		{"full, read deadline", false, 0, early, closeDefault},
		{"silent, no deadline", true, 0, 0, drainDefault},
		{"silent, read deadline", true, 0, early, early},
		{"silent, late read deadline", true, 0, late, drainDefault},
		{"silent, read deadline that has passed", true, 0, -early, 0},
	} {
		honours := func(t *testing.T, p abortPath, r abortRole, version uint16) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				client, server := abortConfigs()
				client.MaxVersion = version
				us, them := r.ends(p, &drainPipe{Conn: ours}, theirs, client, server)
				abortShake(t, us, them)
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					if test.takes {
						takeAllRaw(nil, theirs)
					}
				}()
				if test.write != 0 {
					us.SetWriteDeadline(time.Now().Add(test.write))
				}
				if test.read != 0 {
					us.SetReadDeadline(time.Now().Add(test.read))
				}
				began := time.Now()
				if err := tlsstream.Abort(us, tlsstream.AlertInternalError); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: Abort: %v, want a timeout", test.name, err)
				}
				if took := time.Since(began); took != test.want {
					t.Errorf("%s: Abort took %v, want %v", test.name, took, test.want)
				}
				theirs.Close()
				<-gone
			})
		}
		abortCases(t, func(t *testing.T, p abortPath, r abortRole) {
			honours(t, p, r, tls.VersionTLS13)
			honours(t, p, r, tls.VersionTLS12)
		})
	}
}
