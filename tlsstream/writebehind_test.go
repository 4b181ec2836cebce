package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// behindStack writes behind, on both sides.
func behindStack(limit int) stack {
	o := &tlsstream.Options{WriteBehind: limit}
	return stack{
		name:   fmt.Sprintf("tlsstream, WriteBehind %d", limit),
		client: func(c net.Conn, config *tls.Config) secureConn { return o.Client(c, config) },
		server: func(c net.Conn, config *tls.Config) secureConn { return o.Server(c, config) },
	}
}

// A behindTest is a server that writes behind, over a pipe without a buffer, and
// its client, after the handshake. It runs in a bubble.
type behindTest struct {
	t      *testing.T
	server *tlsstream.Conn
	client *tlsstream.Conn
	wire   *wiretap // under the server
	before int      // writes of the handshake
}

func inBehindBubble(t *testing.T, o tlsstream.Options, f func(x *behindTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := membio.Pipe(membio.PipeOptions{})
		clientConfig, serverConfig := ticketConfigs()
		mutual(clientConfig, serverConfig) // there is a ticket to hold
		x := &behindTest{t: t, wire: &wiretap{Conn: b}}
		x.server = o.Server(x.wire, serverConfig)
		x.client = (&tlsstream.Options{DrainTimeout: -1}).Client(a, clientConfig)
		defer b.Close()
		defer a.Close()
		if err := handshakeBoth(x.client, x.server); err != nil {
			t.Fatal(err)
		}
		x.before = x.wire.count()
		f(x)
	})
}

// write writes p, and fails the test if that takes any time.
func (x *behindTest) write(p []byte) {
	x.t.Helper()
	began := time.Now()
	if n, err := x.server.Write(p); n != len(p) || err != nil || time.Since(began) > 0 {
		x.t.Fatalf("Write of %d bytes: %d, %v, after %v", len(p), n, err, time.Since(began))
	}
}

// read reads everything up to the end.
func (x *behindTest) read() (<-chan []byte, <-chan error) {
	all, end := make(chan []byte, 1), make(chan error, 1)
	go func() {
		p, err := io.ReadAll(x.client)
		all <- p
		end <- err
	}()
	return all, end
}

// records are the lengths of what the server's records hold that were written
// since the handshake, for records of application data and held ones alike.
func (x *behindTest) records() []int {
	x.wire.mu.Lock()
	defer x.wire.mu.Unlock()
	var lengths []int
	for stream := bytes.Join(x.wire.writes[x.before:], nil); len(stream) > 0; {
		n := int(stream[3])<<8 + int(stream[4])
		lengths = append(lengths, n-17) // RFC 8446 5.2: the inner type, and the AEAD's tag
		stream = stream[5+n:]
	}
	return lengths
}

// Write returns when the bytes are in memory, though the transport takes nothing,
// until memory is full. A Write that does not fit waits, as long as its deadline
// allows, and says how much it has left there.
func TestWriteBehindWaitsOnlyForMemory(t *testing.T) {
	const limit = 100_000
	inBehindBubble(t, tlsstream.Options{WriteBehind: limit}, func(x *behindTest) {
		want := randomBytes(1, 3*limit)
		x.write(want[:1]) // the flusher seals that, and waits for the transport
		synctest.Wait()
		for at := 1; at < 1+limit; at += limit / 10 {
			x.write(want[at : at+limit/10])
		}
		if s := x.server.Stats(); s.Gathered != limit || s.Pending == 0 {
			t.Errorf("Stats of a full stream: %+v", s)
		}
		rest := want[1+limit:]
		x.server.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := x.server.Write(rest)
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write to a full stream: %d, %v", n, err)
		}
		if _, err := x.server.Write(rest); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write after the deadline: %v", err)
		}

		x.server.SetWriteDeadline(time.Time{})
		all, end := x.read()
		if n, err := x.server.Write(rest); n != len(rest) || err != nil {
			t.Errorf("Write with a reader: %d, %v", n, err)
		}
		if err := x.server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		mustEqual(t, "stream", <-all, want)
		if err := <-end; err != nil {
			t.Errorf("end of the stream: %v", err)
		}
	})
}

// The control: without it a Write waits for the transport.
func TestWithoutWriteBehindWriteWaitsForTheTransport(t *testing.T) {
	inBehindBubble(t, tlsstream.Options{}, func(x *behindTest) {
		x.server.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := x.server.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
	})
}

// What is written while the transport takes nothing goes into full records: small
// writes are gathered before they are sealed.
func TestWriteBehindFillsRecords(t *testing.T) {
	const lines, line = 3000, 100
	inBehindBubble(t, tlsstream.Options{WriteBehind: 1 << 20}, func(x *behindTest) {
		// crypto/tls's first records are short by intention: 128 KiB end that.
		warm := make([]byte, 256<<10)
		go io.ReadFull(x.client, warm)
		x.write(warm)
		if err := x.server.Flush(); err != nil {
			t.Fatal(err)
		}
		before := len(x.records())
		for range lines {
			x.write(bytes.Repeat([]byte("l"), line)) // nobody reads
		}
		all, _ := x.read()
		if err := x.server.Close(); err != nil {
			t.Fatal(err)
		}
		if got := len(<-all); got != lines*line {
			t.Errorf("%d bytes arrived", got)
		}
		records := x.records()[before:]
		records = records[:len(records)-1] // close_notify
		full := 0
		for _, n := range records {
			if n == 16<<10 {
				full++
			}
		}
		// One begins before the others are written, and one is the last.
		if atLeast := lines*line/(16<<10) - 1; full < atLeast || len(records) > full+2 {
			t.Errorf("%d of %d records are full, want %d: %v", full, len(records), atLeast, records)
		}
	})
}

// The control: without it each Write is a record, at least.
func TestWithoutWriteBehindLinesAreRecords(t *testing.T) {
	inBehindBubble(t, tlsstream.Options{}, func(x *behindTest) {
		all, _ := x.read()
		for range 100 {
			if _, err := x.server.Write(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		x.server.Close()
		<-all
		if records := x.records(); len(records) < 100 {
			t.Errorf("records: %v", records)
		}
	})
}

// The first Write of a quiet stream over a socket has reached the socket when it
// returns, and no goroutine was started.
func TestWriteBehindSendsAtOnceWhenQuiet(t *testing.T) {
	x, y := tlstest.TCPPair(t)
	clientConfig, serverConfig := ticketConfigs()
	o := &tlsstream.Options{WriteBehind: 1 << 20}
	client, server := o.Client(x, clientConfig), o.Server(y, serverConfig)
	defer client.Close()
	defer server.Close()
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // each has read before it writes
		for _, c := range [][2]*tlsstream.Conn{{client, server}, {server, client}} {
			if _, err := c[0].Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if s := c[0].Stats(); i > 0 && (s.Gathered > 0 || s.Pending > 0) {
				t.Fatalf("round trip %d: Stats after Write: %+v", i, s)
			}
			if _, err := c[1].Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A clogged stream holds what its options say, and one slice, whatever the length
// of a Write.
func TestWriteBehindIsBounded(t *testing.T) {
	for _, limit := range []int{1, 1000, 16 << 10, 100_000, 1 << 20} {
		inBehindBubble(t, tlsstream.Options{WriteBehind: limit}, func(x *behindTest) {
			p := make([]byte, 8<<20)
			for range 5 {
				x.server.SetWriteDeadline(time.Now().Add(time.Second))
				n, err := x.server.Write(p)
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("Write: %d, %v", n, err)
				}
				p = p[n:]
				s := x.server.Stats()
				if s.Gathered > limit || s.Pending == 0 || s.Pending > writeLimit+writeLimit/20 {
					t.Errorf("WriteBehind %d: Stats: %+v", limit, s)
				}
				x.server.SetWriteDeadline(time.Time{})
				if _, err := x.client.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// When all is sent, no goroutine is left and no memory, and the Writes of the steady
// state have allocated nothing.
func TestWriteBehindIdleCostsNothing(t *testing.T) {
	const n = 50
	s := behindStack(1 << 20)
	idleFleet(t, s, 1)()
	cost, goroutines := heapOf(func() func() { return idleFleet(t, s, n) })
	without, _ := heapOf(func() func() { return idleFleet(t, streamStack, n) })
	more := (cost - without) / (2 * n)
	t.Logf("%d bytes for each endpoint", more)
	if more > 1<<10 || goroutines > 0 {
		t.Errorf("an idle endpoint costs %d bytes more than one without; there are %d goroutines more", more, goroutines)
	}

	if underRace {
		return // the race detector's allocations count
	}
	a, b := tlstest.TCPPair(t)
	clientConfig, serverConfig := ticketConfigs()
	client, server := s.client(a, clientConfig), s.server(b, serverConfig)
	defer client.Close()
	defer server.Close()
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	discarded := make(chan struct{})
	go func() {
		defer close(discarded)
		io.Copy(io.Discard, struct{ io.Reader }{server})
	}()
	for _, size := range []int{100, 16 << 10} {
		p := make([]byte, size)
		write := func() {
			if _, err := client.Write(p); err != nil {
				t.Error(err)
			}
		}
		for range (2 << 20) / size {
			write() // pools fill
		}
		if allocations := testing.AllocsPerRun((4<<20)/size, write); allocations > 0 {
			t.Errorf("%v allocations for each Write of %d bytes", allocations, size)
		}
	}
	client.CloseWrite()
	<-discarded
}

// Held tickets leave in front of the first data, and FlushTickets sends them alone.
func TestWriteBehindKeepsTurnAndOrder(t *testing.T) {
	inBehindBubble(t, tlsstream.Options{WriteBehind: 1 << 20}, func(x *behindTest) {
		synctest.Wait()
		held := x.server.Stats().HeldBytes
		if n := x.wire.count(); n != x.before || held == 0 {
			t.Fatalf("%d writes before the first Write; %d bytes held", n-x.before, held)
		}
		x.write([]byte("first"))
		synctest.Wait() // it waits for the transport, and the ticket with it
		if s := x.server.Stats(); s.HeldBytes != 0 || s.Gathered != 0 || s.Pending < held {
			t.Errorf("Stats: %+v", s)
		}
		x.write([]byte(", second"))
		done := make(chan error)
		go func() { done <- x.server.FlushTickets() }()
		all, _ := x.read()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := x.server.CloseWrite(); err != nil {
			t.Error(err)
		}
		if got := string(<-all); got != "first, second" {
			t.Errorf("read %q", got)
		}
		x.server.Close()
	})
}

func TestWriteBehindMustNotBeNegative(t *testing.T) {
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "WriteBehind is negative: -1") {
			t.Errorf("panic: %v", text)
		}
	}()
	(&tlsstream.Options{WriteBehind: -1}).Server(nil, nil)
}
