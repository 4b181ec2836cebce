package tlsstream_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A traceLog keeps what a Trace was told, in words without sizes, and adds the sizes up.
type traceLog struct {
	also func(net.Conn) // called by each function of the Trace; may be nil

	mu     sync.Mutex
	wake   chan struct{} // closed when words grows; guarded by mu
	words  []string      // guarded by mu
	held   int           // bytes; guarded by mu
	freed  int           // bytes released; guarded by mu
	conn   net.Conn      // that the last call was of; guarded by mu
	inside int           // calls in progress; guarded by mu
	nested bool          // two calls were in progress at once; guarded by mu
}

func (l *traceLog) tell(c net.Conn, held, freed int, format string, args ...any) {
	l.mu.Lock()
	l.inside++
	l.nested = l.nested || l.inside > 1
	l.mu.Unlock()
	if l.also != nil {
		l.also(c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside--
	l.conn = c
	l.held += held
	l.freed += freed
	l.words = append(l.words, fmt.Sprintf(format, args...))
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

func (l *traceLog) trace() *tlsstream.Trace {
	return &tlsstream.Trace{
		Held: func(c net.Conn, i tlsstream.HeldInfo) {
			what := "ticket"
			if i.KeyUpdate {
				what = "update"
			}
			l.tell(c, i.Bytes, 0, "held %s, %d in all", what, i.TotalRecords)
		},
		Released: func(c net.Conn, i tlsstream.ReleasedInfo) {
			l.tell(c, 0, i.Bytes, "released %d: %v", i.Records, i.Cause)
		},
		KeyUpdate: func(c net.Conn, i tlsstream.KeyUpdateInfo) {
			l.tell(c, 0, 0, "update %v %d", i.State, i.Count)
		},
		AlertSent:     func(c net.Conn, i tlsstream.AlertInfo) { l.tell(c, 0, 0, "sent %v", i) },
		AlertReceived: func(c net.Conn, i tlsstream.AlertInfo) { l.tell(c, 0, 0, "received %v", i) },
		DrainBegin:    func(c net.Conn, i tlsstream.DrainInfo) { l.tell(c, 0, 0, "drain %v, %v", i.Cause, i.Within) },
		DrainEnd: func(c net.Conn, i tlsstream.DrainEndInfo) {
			l.tell(c, 0, 0, "drain ended: %v", i.End)
		},
		Deferral: func(c net.Conn, d ticketdefer.Deferral) { l.tell(c, 0, 0, "deferral %v", d) },
		Lost:     func(c net.Conn, n int) { l.tell(c, 0, 0, "lost %d", n) },
	}
}

func (l *traceLog) options() *tlsstream.Options { return &tlsstream.Options{Trace: l.trace()} }

// expect waits until as many things were told as are wanted, and compares.
func (l *traceLog) expect(t testing.TB, who string, want ...string) {
	t.Helper()
	patience := time.After(endPatience)
	for {
		l.mu.Lock()
		got, nested := l.words, l.nested
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		wake := l.wake
		l.mu.Unlock()
		if nested {
			t.Errorf("%s: two functions were called at once", who)
		}
		if len(got) >= len(want) {
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s was told (-want +got):\n%s", who, d)
			}
			return
		}
		select {
		case <-wake:
		case <-patience:
			t.Fatalf("%s was told only %q", who, got)
		}
	}
}

// tracedPair returns a client and a server after the handshake, each with a Trace.
type tracedPair func(t testing.TB, clientLog, serverLog *traceLog, clientConfig, serverConfig *tls.Config) (client, server secureConn)

func tracedStreams(t testing.TB, clientLog, serverLog *traceLog, clientConfig, serverConfig *tls.Config) (client, server secureConn) {
	t.Helper()
	x, y := tlstest.TCPPair(t)
	client = clientLog.options().Client(x, clientConfig)
	server = serverLog.options().Server(y, serverConfig)
	if err := handshakeBoth(client, server); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// tracedTLSConns are of Dialer.DialContext and Listener.Accept.
func tracedTLSConns(t testing.TB, clientLog, serverLog *traceLog, clientConfig, serverConfig *tls.Config) (client, server secureConn) {
	t.Helper()
	l := serverLog.options().NewListener(endListen(t), serverConfig)
	accepted := make(chan *tls.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := l.Accept(); err == nil {
			accepted <- c.(*tls.Conn)
			_ = c.(*tls.Conn).Handshake()
		}
	}()
	dialer := tlsstream.Dialer{Config: clientConfig, Options: *clientLog.options()}
	dialed, err := dialer.DialContext(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := <-accepted
	t.Cleanup(func() {
		dialed.Close()
		s.Close()
	})
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	return dialed.(*tls.Conn), s
}

// await waits until something was told that begins with word.
func (l *traceLog) await(word string) {
	for {
		l.mu.Lock()
		found := slices.ContainsFunc(l.words, func(w string) bool { return strings.HasPrefix(w, word) })
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		wake := l.wake
		l.mu.Unlock()
		if found {
			return
		}
		<-wake
	}
}

// A onceFlag is spent once after it was armed.
type onceFlag struct{ state atomic.Bool }

func (f *onceFlag) arm()        { f.state.Store(true) }
func (f *onceFlag) spend() bool { return f.state.CompareAndSwap(true, false) }
