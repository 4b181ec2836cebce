package tlsstream_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A recorder is a server's transport that keeps what is written to it.
type recorder struct {
	net.Conn // not *net.TCPConn: its ReadFrom and SyscallConn would go around Write

	mu     sync.Mutex
	writes [][]byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, append([]byte(nil), p...))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

func (r *recorder) CloseWrite() error { return r.Conn.(*net.TCPConn).CloseWrite() }

// A wireRecord is what an onlooker sees of a TLS record.
type wireRecord struct {
	ContentType byte
	Length      int // with its header
}

// since returns the records of each write from number n on, and how many writes there are by now.
func (r *recorder) since(n int) (writes [][]wireRecord, next int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.writes[n:] {
		var records []wireRecord
		for len(p) >= 5 {
			length := min(len(p), 5+int(p[3])<<8+int(p[4]))
			records = append(records, wireRecord{p[0], length})
			p = p[length:]
		}
		if len(p) > 0 {
			records = append(records, wireRecord{p[0], len(p)})
		}
		writes = append(writes, records)
	}
	return writes, len(r.writes)
}

const (
	closeNotifyRecord = 24 // bytes: header 5, alert 2, inner content type 1, tag 16
	keyUpdateRecord   = 27
	dataOverhead      = 22
)

// startRecorded is peerRun.start with a recorder beneath the server. It returns the connection after its handshake.
func startRecorded(ctx context.Context, t *testing.T, p peerRun) (secureConn, *recorder, <-chan error) {
	t.Helper()
	var r *recorder
	p.wrap = func(conn *net.TCPConn) net.Conn {
		r = &recorder{Conn: conn}
		return r
	}
	server, client := p.start(ctx, t)
	conn, err := server.handshake()
	if err != nil {
		t.Fatal(err)
	}
	return conn, r, client
}

// handshakeRecords counts the records that the server writes in a handshake that ends in no ticket.
func handshakeRecords(t *testing.T, p peerRun) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
	defer cancel()
	p.stack = stockStack
	p.ops = ""
	p.noTickets = true
	conn, wire, client := startRecorded(ctx, t, p)
	count := countRecords(wire)
	conn.Close()
	<-client
	return count
}

func countRecords(wire *recorder) int {
	writes, _ := wire.since(0)
	count := 0
	for _, records := range writes {
		count += len(records)
	}
	return count
}

// wireCases runs a test against both of our stacks, without and with a client certificate, which decides whether stock
// crypto/tls writes the ticket along with its first flight or later.
func wireCases(t *testing.T, ops string, f func(*testing.T, context.Context, peerRun)) {
	id, program := newIdentity(t, smallClient), peer(t, "openssl")
	for _, stack := range ourStacks {
		for _, auth := range []bool{false, true} {
			t.Run(fmt.Sprintf("stack=%s/auth=%v", stack.name, auth), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
				defer cancel()
				f(t, ctx, peerRun{stack: stack, id: id, program: program, auth: auth, ops: ops})
			})
		}
	}
}

func TestNothingIsWrittenOutOfTurn(t *testing.T) {
	wireCases(t, "every 20000 write 50000 read 1000 eof", func(t *testing.T, ctx context.Context, p peerRun) {
		conn, wire, client := startRecorded(ctx, t, p)
		if got, want := countRecords(wire), handshakeRecords(t, p); got != want {
			t.Errorf("%d records in the handshake, want %d: more is a ticket", got, want)
		}
		_, flight := wire.since(0)
		if n, err := readPattern(conn, 50000, nil); err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		if writes, _ := wire.since(flight); len(writes) != 0 {
			t.Errorf("written while the server only read: %v", writes)
		}
		if _, err := conn.Write(pattern(1000)); err != nil {
			t.Fatal(err)
		}
		writes, answer := wire.since(flight)
		answers := []wireRecord{{23, keyUpdateRecord}, {23, keyUpdateRecord}}[:answersHeld(p.stack.name, 2)]
		checkRelease(t, writes, append(answers, wireRecord{23, 1000 + dataOverhead})...)
		conn.Close()
		writes, _ = wire.since(answer)
		if diff := cmp.Diff([][]wireRecord{{{23, closeNotifyRecord}}}, writes); diff != "" {
			t.Errorf("Close, -want +got:\n%s", diff)
		}
		if err := <-client; err != nil {
			t.Error(err)
		}
	})
}

// checkRelease checks that there is one write, of a ticket and then the given records.
func checkRelease(t *testing.T, writes [][]wireRecord, behind ...wireRecord) {
	t.Helper()
	if len(writes) != 1 || len(writes[0]) == 0 {
		t.Errorf("got %v, want one write", writes)
		return
	}
	if ticket := writes[0][0]; ticket.ContentType != 23 || ticket.Length < 100 {
		t.Errorf("the first record is %v, want a ticket", ticket)
	}
	if diff := cmp.Diff(behind, writes[0][1:], cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("behind the ticket, -want +got:\n%s", diff)
	}
}

func TestCloseNotifyLeavesWithTicket(t *testing.T) {
	wireCases(t, "write 50000 shutdown eof", func(t *testing.T, ctx context.Context, p peerRun) {
		conn, wire, client := startRecorded(ctx, t, p)
		_, flight := wire.since(0)
		if n, err := readPattern(conn, -1, nil); n != 50000 || err != io.EOF {
			t.Fatalf("read %d bytes, %v", n, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		writes, _ := wire.since(flight)
		checkRelease(t, writes, wireRecord{23, closeNotifyRecord})
		if err := <-client; err != nil {
			t.Error(err)
		}
	})
}

func TestFlushTicketsWritesOnce(t *testing.T) {
	wireCases(t, "write 1 read 1000 eof", func(t *testing.T, ctx context.Context, p peerRun) {
		conn, wire, client := startRecorded(ctx, t, p)
		_, flight := wire.since(0)
		for range 2 { // the second time there is nothing to send
			if err := tlsstream.FlushTickets(conn); err != nil {
				t.Fatal(err)
			}
		}
		writes, flushed := wire.since(flight)
		checkRelease(t, writes)
		if stats, ok := tlsstream.StatsOf(conn); !ok || stats.HeldBytes != 0 {
			t.Errorf("StatsOf = %+v, %v; want nothing held", stats, ok)
		}
		if _, err := conn.Write(pattern(1000)); err != nil {
			t.Fatal(err)
		}
		writes, _ = wire.since(flushed)
		if diff := cmp.Diff([][]wireRecord{{{23, 1000 + dataOverhead}}}, writes); diff != "" {
			t.Errorf("Write, -want +got:\n%s", diff)
		}
		conn.Close()
		if err := <-client; err != nil {
			t.Error(err)
		}
	})
}

// A server of a protocol with a greeting writes before it reads, and does not call Handshake.
func TestGreetingIsInOrder(t *testing.T) {
	wireCases(t, "read 1000 write 5 read 1000 shutdown eof", func(t *testing.T, ctx context.Context, p peerRun) {
		server, client := p.start(ctx, t)
		conn, err := server.accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(pattern(1000)); err != nil {
			t.Fatal(err)
		}
		if n, err := readPattern(conn, 5, nil); err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		if _, err := conn.Write(pattern(2000)[1000:]); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("at the end: %d, %v", n, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := <-client; err != nil {
			t.Error(err)
		}
	})
}

// The control: stock crypto/tls writes in its handshake what no handshake needs, and writes again while it reads.
func TestStockWritesOutOfTurn(t *testing.T) {
	p := peerRun{stack: stockStack, id: newIdentity(t, smallClient), program: peer(t, "openssl"),
		ops: "every 20000 write 50000 read 1000"}
	ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
	defer cancel()
	conn, wire, client := startRecorded(ctx, t, p)
	if got, without := countRecords(wire), handshakeRecords(t, p); got != without+1 {
		t.Errorf("blind: %d records in the handshake, %d without a ticket", got, without)
	}
	_, flight := wire.since(0)
	if n, err := readPattern(conn, 50000, nil); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	answer := []wireRecord{{23, keyUpdateRecord}}
	writes, _ := wire.since(flight)
	if diff := cmp.Diff([][]wireRecord{answer, answer}, writes); diff != "" {
		t.Errorf("blind: -want +got:\n%s", diff)
	}
	if _, err := conn.Write(pattern(1000)); err != nil {
		t.Error(err)
	}
	if err := <-client; err != nil {
		t.Error(err)
	}
	conn.Close()
}
