package torture

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

func faultPair(t *testing.T, network string, seed uint64) (client, server *faultConn) {
	t.Helper()
	a, b, err := networksNamed(t, network)[0].Dial(seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*faultConn), b.(*faultConn)
}

func TestTrickleMovesOneByteUntilHealed(t *testing.T) {
	client, server := faultPair(t, "trickle", 1)
	if n, err := client.Write([]byte("hello")); n != 5 || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	buf := make([]byte, 10)
	if n, err := server.Read(buf); n != 1 || err != nil {
		t.Errorf("read %d, %v, want one byte", n, err)
	}
	client.Heal()
	client.Write(bytes.Repeat([]byte("x"), 100))
	read := 0
	for calls := 0; read < 104; calls++ {
		n, err := server.Read(make([]byte, 200))
		if err != nil || calls > 10 {
			t.Fatalf("after Heal: %d bytes in %d calls, %v", read, calls, err)
		}
		read += n
	}
}

// clogNow clogs what conn writes, for ever if nothing opens it.
func clogNow(conn *faultConn) {
	conn.clog = newBlockage(1, 1)
	conn.clog.flow = 0
	conn.clog.operations = 3
}

// In a bubble, Wait returns when the writer waits for a change of the clog, and nothing else can happen.
func TestClogOpens(t *testing.T) {
	for _, test := range []struct {
		name string
		open func(c *clogTest)
		want error
	}{
		{"when it is healed", func(c *clogTest) { c.server.Heal() }, nil},
		{"when the peer stands still", func(c *clogTest) { go c.server.Read(make([]byte, 1)) }, nil},
		{"after some calls of the peer's", func(c *clogTest) {
			for i := range 3 {
				select {
				case <-c.done:
					c.t.Errorf("open after %d calls", i)
				default:
				}
				c.server.Write([]byte("x"))
				synctest.Wait()
			}
		}, nil},
		{"when the peer closes", func(c *clogTest) { c.server.Close() }, nil},
		{"for a Close", func(c *clogTest) { c.client.Close() }, net.ErrClosed},
		{"for a deadline that is set", func(c *clogTest) { c.client.SetWriteDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		{"for a deadline that passes", func(c *clogTest) { c.client.SetDeadline(time.Now().Add(time.Second)); time.Sleep(2 * time.Second) }, os.ErrDeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				side := membio.PipeSide{SendBuffer: 100, ReceiveBuffer: 100}
				client, server := newFaultPipe(membio.PipeOptions{A: side, B: side})
				defer server.Close()
				defer client.Close()
				clogNow(client)
				c := &clogTest{t, client, server, make(chan error, 1)}
				go func() {
					_, err := client.Write([]byte("hello"))
					c.done <- err
				}()
				synctest.Wait()
				if !client.clog.clogged() || client.Unsent() > 0 || server.Unread() > 0 {
					t.Fatal("something passed")
				}
				test.open(c)
				synctest.Wait()
				select {
				case err := <-c.done:
					if !errors.Is(err, test.want) || err != nil && test.want == nil {
						t.Errorf("the write was told %v, want %v", err, test.want)
					}
				default:
					t.Error("still clogged")
				}
			})
		})
	}
}

type clogTest struct {
	t              *testing.T
	client, server *faultConn
	done           chan error
}

// What passes through faults arrives as it was, whatever the seed.
func TestFaultsKeepTheStream(t *testing.T) {
	sent := slices.Repeat([]byte("0123456789"), 3000)
	for _, network := range []string{"segments", "trickle", "clogged"} {
		for seed := range uint64(20) {
			client, server, err := networksNamed(t, network)[0].Dial(seed)
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				_, err := client.Write(sent)
				failed <- errors.Join(err, client.Close())
			}()
			got, err := io.ReadAll(server)
			if err := errors.Join(err, <-failed, server.Close()); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%s, seed %d: %d of %d bytes, %v", network, seed, len(got), len(sent), err)
			}
		}
	}
}

// A run asks a transport whether it waits, so that it need not look at a clock.
func TestFaultyTransportTellsThatItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		side := membio.PipeSide{SendBuffer: 100, ReceiveBuffer: 100}
		client, server := newFaultPipe(membio.PipeOptions{A: side, B: side})
		defer server.Close()
		defer client.Close()
		clogNow(client)
		metered := newMetered(client, 100)
		expect := func(when string, want bool) {
			t.Helper()
			synctest.Wait()
			if waits, known := metered.waits(); waits != want || !known {
				t.Errorf("%s: waits %v, known %v", when, waits, known)
			}
		}
		expect("before any call", false)
		go metered.Write([]byte("hello"))
		expect("clogged", true)
		server.Heal()
		expect("healed", false)
		go metered.Read(make([]byte, 1))
		expect("in a read", true)
	})
}
