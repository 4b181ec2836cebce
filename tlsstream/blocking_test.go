package tlsstream_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// narrowBack are the options of a pipe whose second end can send little before
// it blocks, and receive everything.
var narrowBack = membio.PipeOptions{
	A: membio.PipeSide{SendBuffer: 4 << 20, ReceiveBuffer: 1000},
	B: membio.PipeSide{SendBuffer: 10, ReceiveBuffer: 1000},
}

// mustTake fails unless f takes exactly the given time of a bubble's clock.
func mustTake(t *testing.T, what string, want time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if got := time.Since(start); got != want {
		t.Errorf("%s took %v, want %v", what, got, want)
	}
}

// While a Write is blocked in the transport, Read delivers data, answers
// KeyUpdates, finds errors, and Close returns.
func TestReadNeverBlocksOnWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := newRequester(t, streamStack, narrowBack)
		written := make(chan error, 1)
		go func() {
			_, err := server.Write(make([]byte, 1<<20))
			written <- err
		}()
		synctest.Wait() // the Write is blocked

		const n = 1000
		go client.request(n)
		got := make([]byte, n)
		server.SetReadDeadline(time.Now().Add(time.Minute))
		mustTake(t, "Read", 0, func() {
			if k, err := io.ReadFull(server, got); err != nil {
				t.Fatalf("read %d bytes: %v", k, err)
			}
		})
		mustEqual(t, "data between requests", got, requested(n))

		record := client.out.Seal(nil, typeData, []byte("data"))
		record[10] ^= 1
		client.transport.Write(record)
		for range 2 {
			mustTake(t, "Read of a bad record", 0, func() {
				if _, err := server.Read(got); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Read: %v", err)
				}
			})
		}
		select {
		case err := <-written:
			t.Fatalf("the Write has ended: %v", err)
		default:
		}
		mustTake(t, "Close", 0, func() { server.Close() })
		if err := <-written; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
	})
}

// The same without a Write: the answers alone would fill the transport.
func TestReadNeverBlocksOnItsOwnAnswers(t *testing.T) {
	t.Parallel()
	const n = 1000
	for _, s := range []stack{streamStack, listenerStack, stockStack} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server := newRequester(t, s, narrowBack)
				client.request(n)
				server.SetDeadline(time.Now().Add(time.Minute))
				got := make([]byte, n)
				k, err := io.ReadFull(server, got)
				if s.name == stockStack.name {
					if err == nil {
						t.Error("the control is not blocked")
					}
					return
				}
				if err != nil {
					t.Fatalf("read %d bytes: %v", k, err)
				}
				mustEqual(t, "data between requests", got, requested(n))
			})
		})
	}
}

// A fatal alert that Read has to send gets one attempt, and that is bounded.
func TestReadsAlertIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := newRequester(t, streamStack, narrowBack)
		clog(t, server)
		record := client.out.Seal(nil, typeData, []byte("data"))
		record[10] ^= 1
		client.transport.Write(record)
		p := make([]byte, 1)
		start := time.Now()
		if _, err := server.Read(p); err == nil {
			t.Fatal("Read of a bad record succeeded")
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("Read took %v", d)
		}
		mustTake(t, "Read after that", 0, func() { server.Read(p) })
		mustTake(t, "Read with a deadline", 0, func() {
			server.SetDeadline(time.Now().Add(time.Hour))
			server.Read(p)
		})
	})
}

// An end of stream is no reason to send what is pending, or to wait for it.
func TestReadOfTheEndSendsNothing(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			client, server := newRequester(t, streamStack, narrowBack)
			clog(t, server)
			if clean {
				client.CloseWrite()
			}
			client.transport.(*membio.PipeConn).CloseWrite()
			for range 2 {
				mustTake(t, "Read of the end", 0, func() {
					if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("Read: %v", err)
					}
				})
			}
		})
	}
}

// The alert of a failed handshake is bounded too, and is tried once.
func TestHandshakesAlertIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := membio.Pipe(membio.PipeOptions{A: membio.PipeSide{SendBuffer: 1000}})
		defer a.Close()
		server := streamStack.server(b, testCA.ServerConfig())
		defer server.Close()
		a.Write([]byte{typeHandshake, 3, 1, 0, 4, 99, 0, 0, 0}) // no such message
		start := time.Now()
		if err := server.Handshake(); err == nil {
			t.Fatal("Handshake succeeded")
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("Handshake took %v", d)
		}
		mustTake(t, "Read after that", 0, func() {
			if _, err := server.Read(make([]byte, 1)); err == nil {
				t.Error("Read succeeded")
			}
		})
	})
}

// clog writes until the transport takes no more, and returns how many bytes are
// sealed.
func clog(t testing.TB, c net.Conn) int {
	t.Helper()
	c.SetWriteDeadline(time.Now().Add(time.Second))
	n, err := c.Write(make([]byte, 1<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Write into a clogged transport: %d, %v", n, err)
	}
	c.SetWriteDeadline(time.Time{})
	return n
}
