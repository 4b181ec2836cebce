package proxy

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"
)

var turnRuns = flag.Int("turn.runs", 2, "uploads to a backend that ends its own direction first")

// A backend that never says anything, and so shuts down its sending side at once, and then
// reads slowly, is what the rule is for: a close_notify that the client never reads costs
// it what it has not sent. Where the client ends its stream first, nothing is lost.
func TestCloseNotifyWaitsForAPeerThatWrites(t *testing.T) {
	upload := uploadC("openssl", "write", "SIZE", "shutdown")(t)
	for _, test := range []struct {
		rule EndRule
		lost bool
	}{{EndQuiet, false}, {EndLast, false}, {EndAtOnce, true}} {
		t.Run(test.rule.String(), func(t *testing.T) {
			lost := 0
			for range *turnRuns {
				const size = 4 << 20
				got, err := uploadToHalfClosed(t, test.rule, upload, size)
				if got.bytes < size || got.end != io.EOF {
					lost++
					t.Logf("%d bytes lost, the backend saw %v, the client says %v", size-got.bytes, got.end, err)
				}
			}
			t.Logf("%d of %d uploads lost bytes", lost, *turnRuns)
			switch {
			case !test.lost && lost > 0:
				t.Error("the rule did not help")
			case test.lost && 2*lost < *turnRuns:
				t.Error("blind: the control lost too little")
			}
		})
	}
}

// uploadToHalfClosed uploads to a backend that shuts down its sending side when the first
// bytes have come.
func uploadToHalfClosed(t *testing.T, rule EndRule, upload upload, size int) (received, error) {
	b := newBackend(t)
	config := testConfig(b.address())
	config.End = rule
	r := start(t, config)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	client := make(chan error, 1)
	_, port, _ := net.SplitHostPort(r.address)
	go func() {
		n, _ := strconv.Atoi(port)
		client <- upload(ctx, n, size)
	}()
	conn := b.accept()
	conn.CloseWrite()
	got := sink(conn)
	if errors.Is(got.end, syscall.ETIMEDOUT) {
		t.Fatal(got.end)
	}
	return got, <-client
}

// The plain side ends while the TLS peer is in the middle of sending: the end crosses in
// the next quiet moment, and not before.
func TestEndCrossesInAQuietMoment(t *testing.T) {
	eachDirection(t, func(c *Config) { c.Quiet = time.Second }, func(t *testing.T, c carried) {
		mustWrite(t, c.tls, "begun")
		expect(t, c.plain, "begun")
		c.plain.CloseWrite()
		ended := make(chan time.Time, 1)
		go func() {
			c.tls.Read(make([]byte, 1))
			ended <- time.Now()
		}()
		var last time.Time
		for range 12 { // for longer than a quiet moment
			last = time.Now()
			mustWrite(t, c.tls, "more")
			expect(t, c.plain, "more")
			time.Sleep(100 * time.Millisecond)
		}
		if at := <-ended; at.Sub(last) < time.Second {
			t.Errorf("the end came %v after the last bytes", at.Sub(last))
		}
		c.tls.CloseWrite()
		expectEnd(t, c.plain, io.EOF)
	})
}

// A record that takes longer than a quiet moment to arrive is sending, too.
func TestHalfARecordIsSending(t *testing.T) {
	b := newBackend(t)
	r := start(t, testConfig(b.address())) // quiet is 300 ms
	front, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	drip := &drip{Conn: front}
	client := tlsClient(t, drip)
	plain := b.accept()
	plain.CloseWrite()
	drip.slow.Store(true)
	ended := make(chan error, 1)
	go func() {
		_, err := client.Read(make([]byte, 1))
		ended <- err
	}()
	mustWrite(t, client, string(pattern(1<<10))) // takes a second and more
	select {
	case err := <-ended:
		t.Errorf("the end came in the middle of a record: %v", err)
	default:
	}
	expect(t, plain, string(pattern(1<<10)))
	if err := <-ended; err != io.EOF {
		t.Error(err)
	}
}

// With the rule "last" not even an answer makes the end cross before the TLS peer's own.
func TestLastMeansLast(t *testing.T) {
	eachDirection(t, func(c *Config) { c.End, c.Quiet = EndLast, time.Millisecond }, func(t *testing.T, c carried) {
		mustWrite(t, c.tls, "request")
		expect(t, c.plain, "request")
		mustWrite(t, c.plain, "answer")
		expect(t, c.tls, "answer")
		c.plain.CloseWrite()
		c.tls.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.tls.Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("the end crossed: %v", err)
		}
		c.tls.SetReadDeadline(time.Now().Add(testTimeout))
		c.tls.CloseWrite()
		expectEnd(t, c.plain, io.EOF)
		expectEnd(t, c.tls, io.EOF)
	})
}

// A plain side that is reset after it has ended, while its end waits, is an error.
func TestResetWhileTheEndWaits(t *testing.T) {
	for _, rule := range []EndRule{EndQuiet, EndLast} {
		t.Run(rule.String(), func(t *testing.T) {
			eachDirection(t, func(c *Config) { c.End, c.Quiet = rule, never }, func(t *testing.T, c carried) {
				mustWrite(t, c.tls, "begun")
				expect(t, c.plain, "begun")
				c.plain.CloseWrite()
				reset(c.plain)
				for { // until the reset is known
					if _, err := c.tls.Write([]byte("more")); err != nil {
						break
					}
					c.tls.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
					if _, err := c.tls.Read(make([]byte, 1)); !isTimeout(err) {
						break
					}
				}
				c.tls.SetReadDeadline(time.Now().Add(testTimeout))
				expectAlert(t, c.tls, 80)
			})
		})
	}
}
