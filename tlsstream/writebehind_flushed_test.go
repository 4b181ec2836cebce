package tlsstream_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A deadlineHook calls set whenever a write deadline has been set.
type deadlineHook struct {
	net.Conn
	set func()
}

func (c *deadlineHook) SetWriteDeadline(t time.Time) error {
	err := c.Conn.SetWriteDeadline(t)
	if c.set != nil {
		c.set()
	}
	return err
}

// What a flusher has left at its deadline another call may send before the next flusher
// starts. Nobody waits for that one then.
func TestWriteBehindNoticesWhatOthersSend(t *testing.T) {
	for name, wait := range map[string]func(*tlsstream.Conn) error{
		"Flush":      (*tlsstream.Conn).Flush,
		"CloseWrite": (*tlsstream.Conn).CloseWrite,
		"Close":      (*tlsstream.Conn).Close,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := membio.Pipe(membio.PipeOptions{})
				hook := &deadlineHook{Conn: b}
				server := behindOptions.Server(hook, testCA.ServerConfig())
				client := (&tlsstream.Options{DrainTimeout: -1}).Client(a, testCA.ClientConfig())
				defer b.Close()
				defer a.Close()
				if err := handshakeBoth(client, server); err != nil {
					t.Fatal(err)
				}
				server.SetWriteDeadline(time.Now().Add(time.Second))
				if _, err := server.Write(make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				if err := server.Flush(); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("Flush: %v", err)
				}
				go func() {
					for p := make([]byte, 100); ; {
						if _, err := client.Read(p); err != nil {
							return
						}
					}
				}()
				hook.set = func() {
					hook.set = nil
					if err := server.FlushTickets(); err != nil {
						t.Errorf("FlushTickets: %v", err)
					}
				}
				server.SetWriteDeadline(time.Time{})
				if s := server.Stats(); s.Pending > 0 || s.Gathered > 0 {
					t.Fatalf("the test is blind: %+v", s)
				}
				began := time.Now()
				if err := wait(server); err != nil || time.Since(began) > 0 {
					t.Errorf("%v, after %v", err, time.Since(began))
				}
			})
		})
	}
}
