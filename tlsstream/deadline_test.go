package tlsstream_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A miser is a transport whose Write takes some bytes and then times out, and
// whose Read gives some bytes and then times out.
type miser struct {
	net.Conn

	mu          sync.Mutex
	write, read int // how many more bytes; negative for any number
	refill      int // what a timeout sets both to
	writes      int // timeouts of Write
	reads       int // timeouts of Read
}

// A timeoutError is not Temporary, which those of package net are: crypto/tls
// would take it for the end of the stream.
type timeoutError struct{}

func (timeoutError) Error() string   { return "timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false }
func (timeoutError) Unwrap() error   { return os.ErrDeadlineExceeded }

func newMiser(c net.Conn) *miser { return &miser{Conn: c, write: -1, read: -1, refill: -1} }

func (m *miser) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.write < 0 {
		return m.Conn.Write(p)
	}
	if m.write >= len(p) {
		n, err := m.Conn.Write(p)
		m.write -= n
		return n, err
	}
	n, err := m.Conn.Write(p[:m.write])
	if err != nil {
		return n, err
	}
	m.write, m.writes = m.refill, m.writes+1
	return n, timeoutError{}
}

func (m *miser) Read(p []byte) (int, error) {
	m.mu.Lock()
	if m.read == 0 {
		m.read, m.reads = m.refill, m.reads+1
		m.mu.Unlock()
		return 0, timeoutError{}
	}
	if m.read > 0 {
		p = p[:min(len(p), m.read)]
	}
	m.mu.Unlock()
	n, err := m.Conn.Read(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.read > 0 {
		m.read -= n
	}
	return n, err
}

func (m *miser) set(write, read, refill int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.write, m.read, m.refill = write, read, refill
}

// writeOn writes p, going on behind every timeout, and returns how many there were.
func writeOn(c net.Conn, p []byte) (timeouts int, err error) {
	for {
		n, err := c.Write(p)
		p = p[n:]
		switch {
		case err == nil && len(p) == 0:
			return timeouts, nil
		case err == nil:
			return timeouts, io.ErrShortWrite
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return timeouts, err
		}
		timeouts++
	}
}

// A Write may time out at any byte of what it puts on the wire, any number of
// times, and is continued with the rest of its bytes: the peer reads exactly the
// stream.
func TestADeadlineIsNotFatal(t *testing.T) {
	t.Parallel()
	a, b := membio.Pipe(wide(8 << 20))
	m := newMiser(b)
	client, server := stockStack.client(a, testCA.ClientConfig()), tlsstream.Server(m, testCA.ServerConfig())
	defer server.Close()
	defer a.Close()
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	check := func(size, accepted, refill int) (timeouts int) {
		t.Helper()
		want := randomBytes(uint64(accepted), size)
		m.set(accepted, -1, refill)
		timeouts, err := writeOn(server, want)
		if err != nil {
			t.Fatalf("size %d, %d bytes accepted: %v", size, accepted, err)
		}
		if n := server.Stats().Pending; n != 0 {
			t.Fatalf("size %d, %d bytes accepted: %d bytes pending", size, accepted, n)
		}
		got := make([]byte, size)
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatalf("size %d, %d bytes accepted: the peer: %v", size, accepted, err)
		}
		mustEqual(t, fmt.Sprintf("size %d, %d bytes accepted", size, accepted), got, want)
		return timeouts
	}
	const record = 300 + 22
	for accepted := range record + 2 {
		want := 0
		if accepted < record {
			want = 1
		}
		if got := check(300, accepted, -1); got != want {
			t.Errorf("%d of %d bytes accepted: %d timeouts", accepted, record, got)
		}
		if accepted > 0 {
			check(300, accepted, accepted)
		}
	}
	for accepted := 7000; accepted < 210_000; accepted += 14_001 { // several slices
		check(200_000, accepted, -1)
		check(200_000, accepted, accepted)
	}
}

// The control: for crypto/tls the first timeout is the last.
func TestADeadlineIsNotFatalControl(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{stockStack, listenerStack} { // documented for the listener's path
		a, b := membio.Pipe(wide(1 << 20))
		m := newMiser(b)
		client, server := stockStack.client(a, testCA.ClientConfig()), s.server(m, testCA.ServerConfig())
		if err := handshakeBoth(client, server); err != nil {
			t.Fatal(err)
		}
		m.set(10, -1, -1)
		if _, err := server.Write([]byte("data")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s: Write: %v", s.name, err)
		}
		if _, err := server.Write([]byte("data")); err == nil {
			t.Errorf("%s: the control is blind: a Write after a timeout succeeded", s.name)
		}
		a.Close()
		server.Close()
	}
}

// The same with a clock: deadlines of Write, of FlushTickets and of Write(nil),
// which sends what is pending.
func TestWriteDeadlineCanBeRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := newRequester(t, streamStack, narrowBack)
		sealed := clog(t, server)
		server.SetWriteDeadline(time.Now().Add(time.Second))
		mustTake(t, "FlushTickets", time.Second, func() {
			if err := tlsstream.FlushTickets(server); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("FlushTickets: %v", err)
			}
		})
		mustTake(t, "Write past the deadline", 0, func() {
			n, err := server.Write([]byte("not sealed"))
			if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %d, %v", n, err)
			}
		})
		server.SetWriteDeadline(time.Time{})
		flushed := make(chan error, 1)
		go func() {
			_, err := server.Write(nil)
			flushed <- err
		}()
		got := make([]byte, sealed)
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "what was sealed", got, make([]byte, sealed))
		if err := <-flushed; err != nil {
			t.Errorf("Write(nil): %v", err)
		}
		if s, _ := tlsstream.StatsOf(server); s.Pending != 0 {
			t.Errorf("after Write(nil): %+v", s)
		}
	})
}

// A Write whose deadline has passed before it begins seals nothing.
func TestWritePastTheDeadlineSealsNothing(t *testing.T) {
	t.Parallel()
	client, server := newRequester(t, streamStack, wide(1<<20))
	server.SetWriteDeadline(longAgo)
	if n, err := server.Write([]byte("never")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Write: %d, %v", n, err)
	}
	if s, _ := tlsstream.StatsOf(server); s.Pending != 0 {
		t.Errorf("Stats: %+v", s)
	}
	server.SetWriteDeadline(time.Time{})
	server.Write([]byte("once"))
	server.CloseWrite()
	if got, err := io.ReadAll(client); string(got) != "once" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// A Read may time out at any byte of a record, and goes on there.
func TestReadDeadlineInsideARecord(t *testing.T) {
	t.Parallel()
	a, b := membio.Pipe(wide(8 << 20))
	m := newMiser(b)
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	client, server := stockStack.client(a, clientConfig), tlsstream.Server(m, serverConfig)
	defer server.Close()
	defer a.Close()
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	for given := range 122 {
		want := randomBytes(uint64(given), 100)
		client.Write(want)
		m.set(-1, given, -1)
		got := make([]byte, 200)
		n, err := server.Read(got)
		var timeout net.Error
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("after %d bytes: %d, %v", given, n, err)
		}
		n, err = server.Read(got)
		if err != nil {
			t.Fatalf("after %d bytes: %v", given, err)
		}
		mustEqual(t, fmt.Sprintf("after %d bytes", given), got[:n], want)
	}
}

// A transport need not have addresses; errors and handshakes do without.
func TestTransportWithoutAddresses(t *testing.T) {
	t.Parallel()
	transport := newMemoryConn()
	clientConfig, serverConfig := ticketConfigs()
	clientConfig.ServerName, clientConfig.InsecureSkipVerify = "", true
	client, server := tlsstream.NewClientEngine(clientConfig), tlsstream.Server(transport, serverConfig)
	defer client.Close()
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	for !client.ConnectionState().HandshakeComplete {
		client.Handshake()
		if out := takeAll(client); len(out) > 0 {
			transport.in <- out
		}
		if !client.ConnectionState().HandshakeComplete {
			client.Feed(<-transport.out)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	server.SetWriteDeadline(longAgo)
	if n, err := server.Write([]byte("data")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || err.Error() == "" {
		t.Errorf("Write: %d, %v", n, err)
	}
	server.Close()
}
