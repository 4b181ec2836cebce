//go:build unix

package membio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// one lends the same memory again and again, and knows whether it is out.
type one struct {
	p     [4 << 10]byte
	out   bool
	loans int
}

func (l *one) Lend() []byte   { l.out = true; l.loans++; return l.p[:] }
func (l *one) TakeBack(n int) { l.out = false }

// opOf is what call and network an error names.
func opOf(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) {
		return ""
	}
	return op.Op + " " + op.Net
}

func TestTryWriteNeverWaitsAndLosesNothing(t *testing.T) {
	a, b := tcpPair(t)
	s := SocketOf(a)
	sent := pattern(64 << 20)
	n := 0
	for n < len(sent) { // until the socket is full
		k, err := s.TryWrite(sent[n:min(len(sent), n+16<<10)], false)
		if err != nil {
			t.Fatal(err)
		}
		n += k
		if k == 0 {
			break
		}
	}
	if n == 0 || n == len(sent) {
		t.Fatalf("%d of %d bytes went without a wait", n, len(sent))
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(b, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent[:n]) {
		t.Error("other bytes arrived than were written")
	}
}

// TestTryWriteTellsErrors: a kernel tells a reset once, and to whoever asks first.
func TestTryWriteTellsErrors(t *testing.T) {
	a, _ := tcpPair(t)
	s := SocketOf(a)
	a.SetWriteDeadline(time.Unix(1, 0))
	if n, err := s.TryWrite([]byte("late"), false); n != 0 || err != nil {
		t.Errorf("after the deadline TryWrite returned %d, %v", n, err)
	}
	a.SetWriteDeadline(time.Time{})
	if n, err := s.TryWrite([]byte("on time"), false); n != 7 || err != nil {
		t.Errorf("once the deadline was lifted TryWrite returned %d, %v", n, err)
	}

	for name, end := range map[string]func(writer, peer *net.TCPConn){
		"RST":    func(writer, peer *net.TCPConn) { peer.SetLinger(0); peer.Close(); io.Copy(io.Discard, writer) },
		"closed": func(writer, _ *net.TCPConn) { writer.Close() },
	} {
		a, b := tcpPair(t)
		end(a, b)
		_, wantErr := a.Write([]byte("broken"))
		a, b = tcpPair(t)
		s = SocketOf(a)
		end(a, b)
		n, err := s.TryWrite([]byte("broken"), false)
		if n != 0 || outcome(err) != outcome(wantErr) || opOf(err) != opOf(wantErr) {
			t.Errorf("%s: TryWrite returned %d, %v; Write's error is %v", name, n, err, wantErr)
		}
	}
}

// TestReadToReturnsWhatReadReturns makes the same end for two connections, and reads
// one by Read and one by ReadTo.
func TestReadToReturnsWhatReadReturns(t *testing.T) {
	for name, end := range map[string]func(reader, peer *net.TCPConn){
		"data":     func(_, peer *net.TCPConn) { peer.Write([]byte("data")) },
		"FIN":      func(_, peer *net.TCPConn) { peer.Close() },
		"RST":      func(_, peer *net.TCPConn) { peer.SetLinger(0); peer.Close() },
		"closed":   func(reader, _ *net.TCPConn) { reader.Close() },
		"deadline": func(reader, _ *net.TCPConn) { reader.SetReadDeadline(time.Unix(1, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			a, peer := tcpPair(t)
			end(a, peer)
			wantN, wantErr := a.Read(make([]byte, 4<<10))

			a, peer = tcpPair(t)
			s := SocketOf(a)
			end(a, peer)
			n, err := s.ReadTo(new(one))
			if n != wantN || outcome(err) != outcome(wantErr) || opOf(err) != opOf(wantErr) {
				t.Errorf("ReadTo returned %d, %v (%s); Read %d, %v (%s)", n, err, outcome(err), wantN, wantErr, outcome(wantErr))
			}
		})
	}
}

func TestReadToHoldsNoMemoryWhileItWaits(t *testing.T) {
	a, b := tcpPair(t)
	s := SocketOf(a)
	l := new(one)
	done := make(chan error, 1)
	go func() {
		_, err := s.ReadTo(l)
		done <- err
	}()
	// It may look once before it waits. Nothing tells when it has; so let it wait
	// and end by a deadline.
	a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if got := outcome(<-done); got != "timeout" {
		t.Fatalf("ReadTo ended with %s", got)
	}
	if l.out || l.loans > 1 {
		t.Errorf("waiting took %d loans, and one is out: %v", l.loans, l.out)
	}
	a.SetReadDeadline(time.Time{})
	b.Write([]byte("x"))
	if n, err := s.ReadTo(l); n != 1 || err != nil || l.p[0] != 'x' || l.out {
		t.Errorf("ReadTo returned %d, %v", n, err)
	}
}

func TestNoSocketBehindAWrapper(t *testing.T) {
	a, _ := tcpPair(t)
	if SocketOf(struct{ *net.TCPConn }{a}) != nil {
		t.Error("a wrapper's Read and Write would be passed over")
	}
	if SocketOf(a) == nil {
		t.Error("a TCP connection has no Socket")
	}
}

func TestSocketAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	a, b := tcpPair(t)
	from, to := SocketOf(a), SocketOf(b)
	l, p := new(one), pattern(100)
	if n := testing.AllocsPerRun(1000, func() {
		from.TryWrite(p, false)
		to.ReadTo(l)
	}); n != 0 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}
