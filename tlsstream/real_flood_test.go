package tlsstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A flood is one byte and one KeyUpdate(update_requested), again and again, from a peer that reads nothing. Stock
// crypto/tls answers each, fills the socket buffers with its answers, and then its Read blocks for ever in a write.

var realFlood = flag.Int("real.flood", defaultFlood(), "key updates in a flood over default socket buffers")

// defaultFlood is more than the 163,000 after which stock crypto/tls blocks with Linux's default buffers. The race
// detector takes 20 seconds for as many.
func defaultFlood() int {
	if underRace {
		return 20_000
	}
	return 200_000
}

const (
	smallBuffer    = 4096
	smallFlood     = 2000      // over such buffers: stock blocks after 480
	floodReply     = 1000      // bytes that the server writes in the end
	floodHeapSlack = 256 << 10 // bytes: a tenth of the answers to a flood of 100,000
)

// smallBuffers makes both ends' socket buffers small.
func smallBuffers(p peerRun) peerRun {
	size := fmt.Sprint(smallBuffer)
	p.options = []string{"-sndbuf", size, "-rcvbuf", size}
	p.wrap = func(conn *net.TCPConn) net.Conn {
		conn.SetReadBuffer(smallBuffer)
		conn.SetWriteBuffer(smallBuffer)
		return conn
	}
	return p
}

func TestKeyUpdateFloodIsDeliveredInConstantMemory(t *testing.T) {
	id := newIdentity(t, smallClient)
	for _, library := range []string{"openssl", "gnutls"} {
		t.Run(library, func(t *testing.T) {
			program := peer(t, library)
			for _, stack := range ourStacks {
				t.Run("stack="+stack.name, func(t *testing.T) {
					flood := peerRun{stack: stack, id: id, program: program}
					t.Run("buffers=small", func(t *testing.T) { surviveFlood(t, smallBuffers(flood), smallFlood) })
					if library == "openssl" {
						t.Run("buffers=default", func(t *testing.T) {
							surviveFlood(t, flood, *realFlood)
						})
					}
				})
			}
		})
	}
}

// surviveFlood reads a flood, and then writes to a peer that has begun to read.
func surviveFlood(t *testing.T, p peerRun, count int) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*realTimeout)
	defer cancel()
	p.ops = fmt.Sprintf("every 1 write %d read %d eof", count, floodReply)
	server, client := p.start(ctx, t)
	conn, err := server.handshake()
	if err != nil {
		t.Fatal(err)
	}
	readFlood(t, conn, count)
	if _, err := conn.Write(pattern(floodReply)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-client; err != nil {
		t.Error(err)
	}
}

// readFlood reads count bytes and checks that they cost no memory. A short flood shows it in what is held, a long one on
// the heap as well.
func readFlood(t *testing.T, conn net.Conn, count int) {
	t.Helper()
	const settled = 1000 // until then the first few are held as they come, and the buffers find their sizes
	before := uint64(0)
	var check patternChecker
	buf := make([]byte, 16<<10)
	for check.n < int64(count) {
		n, err := conn.Read(buf)
		if _, err := check.Write(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatalf("after %d of %d key updates: %v", check.n, count, err)
		}
		if before == 0 && check.n > settled {
			before = heap()
		}
	}
	if grown := int64(heap()) - int64(before); count >= 10*settled && grown > floodHeapSlack {
		t.Errorf("the heap grew by %d bytes in %d key updates", grown, count-settled)
	}
	if stats, ok := tlsstream.StatsOf(conn); !ok || stats.HeldBytes > 4096 {
		t.Errorf("StatsOf = %+v, %v; want at most a ticket and a few key updates held", stats, ok)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // the first moves what pools hold to their victim caches
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// crypto/tls cannot ask for a key update. So the client here only reads; what it sends after its handshake is sealed
// with its traffic secret.
func TestCryptoTLSReadsAfterKeyUpdateFlood(t *testing.T) {
	for _, stack := range ourStacks {
		t.Run("stack="+stack.name, func(t *testing.T) {
			raw, serverEnd := tlstest.TCPPair(t)
			raw.SetDeadline(time.Now().Add(realTimeout))
			clientConfig, serverConfig := ticketConfigs()
			log := new(keyLog)
			clientConfig.KeyLogWriter = log
			client, conn := tls.Client(raw, clientConfig), stack.server(serverEnd, serverConfig)
			if err := handshakeBoth(client, conn); err != nil {
				t.Fatal(err)
			}
			var flood []byte
			epoch := log.epoch(t, "CLIENT", client.ConnectionState())
			for _, b := range pattern(smallFlood) {
				flood = sealKeyUpdate(t, epoch, epoch.Seal(flood, typeData, []byte{b}))
			}
			read := make(chan error, 1)
			go func() {
				if _, err := raw.Write(flood); err != nil {
					read <- err
					return
				}
				if n, err := readPattern(client, floodReply, nil); err != nil {
					read <- fmt.Errorf("after %d bytes of the reply: %w", n, err)
					return
				}
				_, err := client.Read(make([]byte, 1))
				read <- err
			}()
			readFlood(t, conn, smallFlood)
			if _, err := conn.Write(pattern(floodReply)); err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			if err := <-read; err != io.EOF {
				t.Errorf("the client's stream ended with %v, want io.EOF", err)
			}
		})
	}
}

// The deadline strikes in the flood's midst, and the stream goes on after it.
func TestReadDeadlineIsKeptInKeyUpdateFlood(t *testing.T) {
	flood := smallBuffers(peerRun{id: newIdentity(t, smallClient), program: peer(t, "openssl"),
		ops: fmt.Sprintf("every 1 write %d read 1", smallFlood)})
	for _, stack := range ourStacks {
		t.Run("stack="+stack.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
			defer cancel()
			flood.stack = stack
			server, client := flood.start(ctx, t)
			conn, err := server.handshake()
			if err != nil {
				t.Fatal(err)
			}
			var check patternChecker
			for _, upTo := range []int64{smallFlood / 2, smallFlood} {
				if _, err := io.CopyN(&check, conn, upTo-check.n); err != nil {
					t.Fatalf("after %d bytes: %v", check.n, err)
				}
				// At the second stop nothing more comes: the Read blocks, or would.
				conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				for err == nil {
					_, err = io.CopyN(&check, conn, 1)
				}
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("past the deadline: %v", err)
				}
				err = nil
				conn.SetReadDeadline(time.Time{})
			}
			if _, err := conn.Write(pattern(1)); err != nil {
				t.Fatal(err)
			}
			if err := <-client; err != nil {
				t.Error(err)
			}
			conn.Close()
		})
	}
}

// Close needs a moment of the processor, which a busy machine may not give it at once. The best of a few is what counts,
// and none may wait for a timeout.
func TestCloseReturnsAtOnceInKeyUpdateFlood(t *testing.T) {
	const limit, never, tries = 100 * time.Millisecond, 4 * time.Second, 3
	endless := peerRun{id: newIdentity(t, smallClient), program: peer(t, "openssl"), ops: "every 1 write 10000000"}
	for _, stack := range ourStacks {
		for _, buffers := range []string{"default", "small"} {
			t.Run(fmt.Sprintf("stack=%s/buffers=%s", stack.name, buffers), func(t *testing.T) {
				flood := endless
				flood.stack = stack
				if buffers == "small" {
					flood = smallBuffers(flood)
				}
				best := never
				for try := 0; try < tries && best > limit; try++ {
					took := closeInFlood(t, flood)
					if took >= never {
						t.Fatalf("Close took %v", took)
					}
					best = min(best, took)
				}
				if best > limit {
					t.Errorf("Close took %v at best", best)
				}
			})
		}
	}
}

// closeInFlood returns how long Close takes in the midst of a flood.
func closeInFlood(t *testing.T, flood peerRun) time.Duration {
	ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
	defer cancel()
	server, client := flood.start(ctx, t)
	conn, err := server.handshake()
	if err != nil {
		t.Fatal(err)
	}
	midst, ended := readInBackground(conn, smallFlood)
	select {
	case <-midst:
	case err := <-ended:
		t.Fatal(err)
	}
	start := time.Now()
	conn.Close()
	took := time.Since(start)
	if err := <-ended; err == nil {
		t.Error("Read went on after Close")
	}
	if err := <-client; err == nil {
		t.Error("the client wrote ten million bytes to a closed connection")
	}
	return took
}

// The control: neither a deadline nor Close gets a stock Read out of a flood.
func TestStockBlocksInKeyUpdateFlood(t *testing.T) {
	flood := smallBuffers(peerRun{stack: stockStack, id: newIdentity(t, smallClient), program: peer(t, "openssl"),
		ops: fmt.Sprintf("every 1 write %d", smallFlood)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server, client := flood.start(ctx, t)
	conn, err := server.handshake()
	if err != nil {
		t.Fatal(err)
	}
	const patience = time.Second
	midst, ended := readInBackground(conn, smallFlood)
	select {
	case <-midst:
		t.Fatal("blind: the whole flood was read")
	case err := <-ended:
		t.Fatalf("blind: Read failed: %v", err)
	case <-time.After(patience):
	}
	conn.SetReadDeadline(time.Now())
	closed := make(chan error, 1)
	go func() { closed <- conn.Close() }()
	select {
	case err := <-ended:
		t.Errorf("blind: Read returned %v", err)
	case err := <-closed:
		t.Errorf("blind: Close returned %v", err)
	case <-time.After(patience):
	}
	cancel() // closes the transport beneath
	<-ended
	<-closed
	<-client
}

// readInBackground reads to the error that it sends on ended. Midst is closed once that many bytes have come.
func readInBackground(conn net.Conn, bytes int) (midst <-chan struct{}, ended <-chan error) {
	reached, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		if _, err := readPattern(conn, int64(bytes), nil); err != nil {
			failed <- err
			return
		}
		close(reached)
		_, err := io.Copy(io.Discard, conn)
		failed <- err
	}()
	return reached, failed
}
