package tlsstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

const behindLimit = 256 << 10

var behindOptions = tlsstream.Options{WriteBehind: behindLimit, CloseTimeout: 3 * time.Second, DrainTimeout: time.Second}

// Each of these returns when the transport has taken everything, and not before.
func TestWriteBehindIsWaitedFor(t *testing.T) {
	for name, wait := range map[string]func(*tlsstream.Conn) error{
		"Flush":      (*tlsstream.Conn).Flush,
		"CloseWrite": (*tlsstream.Conn).CloseWrite,
		"Close":      (*tlsstream.Conn).Close,
	} {
		t.Run(name, func(t *testing.T) {
			inBehindBubble(t, behindOptions, func(x *behindTest) {
				want := randomBytes(1, behindLimit)
				x.write(want)
				done := make(chan error, 1)
				go func() { done <- wait(x.server) }()
				got := make([]byte, behindLimit-writeLimit-1) // more than one slice is left
				if _, err := io.ReadFull(x.client, got); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				select {
				case err := <-done:
					t.Errorf("it did not wait: %v", err)
				default:
				}
				all, end := x.read()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if s := x.server.Stats(); s.Gathered > 0 || s.Pending > 0 {
					t.Errorf("Stats: %+v", s)
				}
				if _, err := x.server.Write([]byte("x")); name != "Flush" && !errors.Is(err, net.ErrClosed) {
					t.Errorf("Write after it: %v", err)
				} else if name == "Flush" {
					want = append(want, 'x')
				}
				x.server.Close()
				mustEqual(t, "stream", append(got, <-all...), want)
				if err := <-end; err != nil {
					t.Errorf("end of the stream: %v", err)
				}
			})
		})
	}
}

// A Close that cannot send everything says so, in its time, and its peer sees that
// the stream is truncated.
func TestWriteBehindCloseSaysWhatWasLost(t *testing.T) {
	for name, within := range map[string]time.Duration{
		"CloseTimeout": behindOptions.CloseTimeout, "deadline": time.Second, "deadline has passed": 0,
	} {
		t.Run(name, func(t *testing.T) {
			inBehindBubble(t, behindOptions, func(x *behindTest) {
				x.write(make([]byte, 100_000))
				x.server.SetWriteDeadline(time.Now().Add(within))
				began := time.Now()
				err := x.server.Close()
				if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "100000 bytes that were written were not sent") {
					t.Errorf("Close: %v", err)
				}
				if took := time.Since(began); took != within {
					t.Errorf("Close took %v, want %v", took, within)
				}
				if _, err := io.ReadAll(x.client); !errors.Is(err, tlsstream.ErrTruncated) && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the peer saw %v", err)
				}
				if s := x.server.Stats(); s.Gathered > 0 {
					t.Errorf("Stats after Close: %+v", s)
				}
			})
		})
	}
	t.Run("a Write waits", func(t *testing.T) {
		inBehindBubble(t, behindOptions, func(x *behindTest) {
			written := make(chan error)
			go func() {
				_, err := x.server.Write(make([]byte, 1<<20))
				written <- err
			}()
			synctest.Wait()
			began := time.Now()
			if err := x.server.Close(); err == nil || time.Since(began) > 0 {
				t.Errorf("Close: %v, after %v", err, time.Since(began))
			}
			if err := <-written; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write: %v", err)
			}
		})
	})
}

// A deadline is not the end: what was written stays, and goes on with a later one.
func TestWriteBehindGoesOnAfterADeadline(t *testing.T) {
	for name, renew := range map[string]func(x *behindTest){
		"SetWriteDeadline": func(x *behindTest) { x.server.SetWriteDeadline(time.Time{}) },
		"Write": func(x *behindTest) {
			x.server.SetWriteDeadline(time.Now().Add(time.Hour))
			x.write(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBehindBubble(t, behindOptions, func(x *behindTest) {
				want := randomBytes(1, 200_000)
				x.server.SetWriteDeadline(time.Now().Add(time.Second))
				x.write(want)
				for range 3 {
					if err := x.server.Flush(); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Fatalf("Flush: %v", err)
					}
				}
				all, _ := x.read()
				synctest.Wait()
				renew(x)
				synctest.Wait()
				if s := x.server.Stats(); s.Gathered > 0 || s.Pending > 0 {
					t.Errorf("it did not go on: %+v", s)
				}
				if err := x.server.Flush(); err != nil {
					t.Errorf("Flush with a later deadline: %v", err)
				}
				x.server.Close()
				mustEqual(t, "stream", <-all, want)
			})
		})
	}
}

// A deadline in the past brings back whoever waits.
func TestWriteBehindIsInterruptedByADeadline(t *testing.T) {
	for name, call := range map[string]func(*tlsstream.Conn) error{
		"Write": func(c *tlsstream.Conn) error {
			_, err := c.Write(make([]byte, 1<<20))
			return err
		},
		"Flush":      (*tlsstream.Conn).Flush,
		"CloseWrite": (*tlsstream.Conn).CloseWrite,
	} {
		t.Run(name, func(t *testing.T) {
			inBehindBubble(t, behindOptions, func(x *behindTest) {
				x.write(make([]byte, 1000))
				done := make(chan error)
				for range 2 {
					go func() { done <- call(x.server) }()
				}
				synctest.Wait()
				x.server.SetWriteDeadline(longAgo)
				for range 2 {
					if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error(err)
					}
				}
			})
		})
	}
}

// The transport's error is told by the next call, whichever that is, and by all
// after it.
func TestWriteBehindTellsItsErrorLater(t *testing.T) {
	calls := map[string]func(*tlsstream.Conn) error{
		"Write": func(c *tlsstream.Conn) error { _, err := c.Write([]byte("x")); return err },
		"Flush": (*tlsstream.Conn).Flush, "CloseWrite": (*tlsstream.Conn).CloseWrite, "Close": (*tlsstream.Conn).Close,
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			inBehindBubble(t, behindOptions, func(x *behindTest) {
				x.write(make([]byte, 100_000))
				x.client.NetConn().Close()
				synctest.Wait()
				for range 2 {
					if err := call(x.server); !isRaceReset(err) && !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
				}
				if s := x.server.Stats(); s.Gathered > 0 {
					t.Errorf("a stream that has failed keeps plaintext: %+v", s)
				}
				x.server.Close()
			})
		})
	}
}

// What was written goes out before the alert of Abort.
func TestWriteBehindAbortSendsWhatIsGathered(t *testing.T) {
	inBehindBubble(t, behindOptions, func(x *behindTest) {
		x.write(make([]byte, 1000))
		synctest.Wait()
		x.write(make([]byte, 100_000))
		aborted := make(chan error)
		go func() { aborted <- x.server.Abort(tlsstream.AlertInternalError) }()
		synctest.Wait()
		all, end := x.read()
		got := <-all
		err := <-end
		x.client.Close()
		if err := <-aborted; err != nil {
			t.Errorf("Abort: %v", err)
		}
		var alert *tlsstream.AlertError
		if !errors.As(err, &alert) || !alert.Remote || alert.Alert != tlsstream.AlertInternalError {
			t.Errorf("the peer saw %v", err)
		}
		if len(got) != 101_000 {
			t.Errorf("%d bytes arrived", len(got))
		}
		if _, err := x.server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after it: %v", err)
		}
	})
}

// A function of a Trace may write, even when that must wait for the flusher that
// caused the event.
func TestWriteBehindTraceMayWrite(t *testing.T) {
	o := behindOptions
	o.Trace = &tlsstream.Trace{Released: func(c net.Conn, _ tlsstream.ReleasedInfo) {
		c.Write(make([]byte, 2*behindLimit))
	}}
	inBehindBubble(t, o, func(x *behindTest) {
		all, _ := x.read()
		x.write(make([]byte, 1000))
		synctest.Wait()
		if err := x.server.Close(); err != nil {
			t.Error(err)
		}
		if n := len(<-all); n != 1000+2*behindLimit {
			t.Errorf("%d bytes arrived", n)
		}
	})
}

// A write-only client that writes lines, as a log sender does, and closes, loses
// nothing to a slow server that sends tickets.
func TestWriteBehindUploadLosesNothing(t *testing.T) {
	for _, sink := range uploadSinks() {
		for _, size := range uploadSizes {
			t.Run(fmt.Sprintf("%s/%d", sink.name, size), func(t *testing.T) {
				t.Parallel()
				client := func(addr string, size int) error {
					d := &tlsstream.Dialer{Config: uploadConfig(), Options: tlsstream.Options{WriteBehind: behindLimit}}
					c, err := d.DialStream(context.Background(), "tcp", addr)
					if err != nil {
						return err
					}
					c.SetDeadline(time.Now().Add(endPatience))
					for line := range slices.Chunk(uploadData(size), 100) {
						if _, err := c.Write(line); err != nil {
							return errors.Join(err, c.Close())
						}
					}
					return c.Close()
				}
				if lost, why := sink.lost(t, client, size, *drainRuns); lost > 0 {
					t.Errorf("%d of %d uploads lost bytes: %v", lost, *drainRuns, why)
				}
			})
		}
	}
}

// A Close on the heels of a Write meets the flusher in any of its states, and the
// peer sees everything and a proper end each time.
func TestWriteBehindCloseOnTheHeelsOfAWrite(t *testing.T) {
	clientConfig, serverConfig := ticketConfigs()
	mutual(clientConfig, serverConfig)
	for round := range 300 {
		a, b := tlstest.TCPPair(t)
		client := tlsstream.Client(a, clientConfig)
		server := (&tlsstream.Options{WriteBehind: behindLimit}).Server(b, serverConfig)
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		want := randomBytes(uint64(round), 1+round*round)
		ended := make(chan error, 1)
		go func() {
			half := len(want) / 2
			_, err := server.Write(want[:half])
			_, err2 := server.Write(want[half:])
			ended <- errors.Join(err, err2, server.Close())
		}()
		got, err := io.ReadAll(client)
		if err := errors.Join(err, <-ended); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		mustEqual(t, "stream", got, want)
		client.Close()
	}
}

// A fatal alert that Read sends overtakes what is only gathered, which cannot be
// sealed any more (RFC 8446 6.2): the next call says so.
func TestWriteBehindEndsWithAnAlertOfRead(t *testing.T) {
	inBehindBubble(t, behindOptions, func(x *behindTest) {
		x.write(make([]byte, 1000))
		synctest.Wait()
		x.write(make([]byte, 10_000))
		read := make(chan error)
		go func() {
			_, err := x.server.Read(make([]byte, 1))
			read <- err
		}()
		forged := append([]byte{typeData, 3, 3, 0, 100}, make([]byte, 100)...)
		if _, err := x.client.NetConn().Write(forged); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err == nil {
			t.Fatal("a forged record was read")
		}
		all, end := x.read()
		var alert *tlsstream.AlertError
		for range 2 {
			if err := x.server.Flush(); !errors.As(err, &alert) || alert.Remote {
				t.Errorf("Flush: %v", err)
			}
			if _, err := x.server.Write([]byte("x")); !errors.As(err, &alert) || alert.Remote {
				t.Errorf("Write: %v", err)
			}
		}
		if n := len(<-all); n != 1000 {
			t.Errorf("%d bytes arrived, want what was sealed", n)
		}
		if err := <-end; !errors.As(err, &alert) || !alert.Remote || alert.Alert != tlsstream.AlertBadRecordMAC {
			t.Errorf("the peer saw %v", err)
		}
		if err := x.server.Close(); err == nil || !strings.Contains(err.Error(), "10000 bytes") {
			t.Errorf("Close: %v", err)
		}
	})
}
