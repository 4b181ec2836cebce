package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

var abortCA = tlstest.NewCA()

// abortPatience bounds what a test waits for. It is reached only if something hangs.
const abortPatience = 20 * time.Second

// An abortable is a connection that Abort serves, or its peer of crypto/tls.
type abortable interface {
	net.Conn
	Handshake() error
	ConnectionState() tls.ConnectionState
}

// An abortPath is a way to make such connections.
type abortPath struct {
	name           string
	client, server func(net.Conn, *tls.Config) abortable
}

func abortStream(o tlsstream.Options) abortPath {
	return abortPath{
		name:   "Conn",
		client: func(c net.Conn, config *tls.Config) abortable { return o.Client(c, config) },
		server: func(c net.Conn, config *tls.Config) abortable { return o.Server(c, config) },
	}
}

// abortPaths are *Conn, and the *tls.Conn of Listener.Accept and Dialer.DialContext.
var abortPaths = []abortPath{
	abortStream(tlsstream.Options{}),
	{
		name: "tls.Conn",
		client: func(c net.Conn, config *tls.Config) abortable {
			deferred := ticketdefer.WrapConn(c)
			return tls.Client(deferred, ticketdefer.BindConfig(config, deferred))
		},
		server: func(c net.Conn, config *tls.Config) abortable {
			deferred := ticketdefer.WrapConn(c)
			return tls.Server(deferred, ticketdefer.BindConfig(config, deferred))
		},
	},
}

// An abortRole is the side that aborts. Its peer is crypto/tls alone.
type abortRole struct {
	name string
	// ends makes our side over ours and its peer over theirs.
	ends func(p abortPath, ours, theirs net.Conn, client, server *tls.Config) (us abortable, them *tls.Conn)
}

var abortRoles = []abortRole{
	{"server", func(p abortPath, ours, theirs net.Conn, client, server *tls.Config) (abortable, *tls.Conn) {
		return p.server(ours, server), tls.Client(theirs, client)
	}},
	{"client", func(p abortPath, ours, theirs net.Conn, client, server *tls.Config) (abortable, *tls.Conn) {
		return p.client(ours, client), tls.Server(theirs, server)
	}},
}

// abortCases runs f for both paths in both roles.
func abortCases(t *testing.T, f func(t *testing.T, p abortPath, r abortRole)) {
	for _, p := range abortPaths {
		for _, r := range abortRoles {
			t.Run(p.name+"/"+r.name, func(t *testing.T) { f(t, p, r) })
		}
	}
}

// abortConfigs are configurations for small handshakes. The client has a session cache, so the server makes tickets.
func abortConfigs() (client, server *tls.Config) {
	client, server = abortCA.ClientConfig(), abortCA.ServerConfig()
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	client.CurvePreferences = []tls.CurveID{tls.X25519}
	server.CurvePreferences = client.CurvePreferences
	return client, server
}

// A wrapper puts something between our side and its socket.
type wrapper func(*net.TCPConn) net.Conn

// abortEnds makes both ends of a connection over TCP. wrap may be nil.
func abortEnds(t testing.TB, p abortPath, r abortRole, client, server *tls.Config, wrap wrapper) (us abortable, them *tls.Conn) {
	t.Helper()
	a, b := abortTCP(t)
	var ours net.Conn = a
	if wrap != nil {
		ours = wrap(a)
	}
	us, them = r.ends(p, ours, b, client, server)
	t.Cleanup(func() { us.Close() })
	return us, them
}

// abortPair is abortEnds with the handshake made.
func abortPair(t testing.TB, p abortPath, r abortRole, client, server *tls.Config, wrap wrapper) (us abortable, them *tls.Conn) {
	t.Helper()
	us, them = abortEnds(t, p, r, client, server, wrap)
	abortShake(t, us, them)
	return us, them
}

func abortShake(t testing.TB, a, b abortable) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- b.Handshake() }()
	if err := errors.Join(a.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
}

// abortTCP returns both ends of a connection over the loopback interface. They fail, rather than hang, after
// abortPatience.
func abortTCP(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	a, b = tlstest.TCPPair(t)
	a.SetDeadline(time.Now().Add(abortPatience))
	b.SetDeadline(time.Now().Add(abortPatience))
	return a, b
}

// An abortHeard is what a peer has received: application data, and how the stream ended.
type abortHeard struct {
	data []byte
	err  error // nil for close_notify and for a bare FIN
}

// abortListen completes them's handshake and reads to the end, then closes: what a peer does that is told to stop.
func abortListen(them abortable) <-chan abortHeard {
	heard := make(chan abortHeard, 1)
	go func() {
		defer them.Close()
		if err := them.Handshake(); err != nil {
			heard <- abortHeard{err: err}
			return
		}
		data, err := io.ReadAll(them)
		heard <- abortHeard{data, err}
	}()
	return heard
}

// abortAlert returns the alert that an error of crypto/tls, whose type for it is not exported, says the peer has sent.
func abortAlert(err error) (tlsstream.Alert, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return tlsstream.Alert(v.Uint()), true
}

// wantAlert fails the test unless the peer received size bytes and then the alert.
func (h abortHeard) wantAlert(t testing.TB, size int, want tlsstream.Alert) {
	t.Helper()
	if len(h.data) != size {
		t.Errorf("the peer received %d bytes, want %d", len(h.data), size)
	}
	if got, ok := abortAlert(h.err); !ok || got != want {
		t.Errorf("the peer's error is %v, want alert %v", h.err, want)
	}
}

// wantAborted fails the test unless err is what calls return after Abort(a).
func wantAborted(t testing.TB, what string, err error, a tlsstream.Alert) {
	t.Helper()
	var alert *tlsstream.AlertError
	if !errors.As(err, &alert) || alert.Alert != a || alert.Remote || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%s after Abort: %v, want this side's own alert %v, over net.ErrClosed", what, err, a)
	}
}

// abortNoLeak fails the test if it leaves a goroutine that was not there before. Call it first.
func abortNoLeak(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// An abortValve is a transport that lets a number of bytes through in each direction and is then clogged. Once a
// deadline has freed the call that it blocks, that direction is open.
type abortValve struct {
	*net.TCPConn
	in, out *abortGauge
}

// newAbortValve makes a valve. Negative numbers are no limit.
func newAbortValve(c *net.TCPConn, in, out int) *abortValve {
	return &abortValve{c, newAbortGauge(in), newAbortGauge(out)}
}

func (v *abortValve) Read(p []byte) (int, error) {
	n := v.in.allow(len(p))
	if n == 0 && len(p) > 0 {
		v.in.block()
		return 0, os.ErrDeadlineExceeded
	}
	n, err := v.TCPConn.Read(p[:n])
	v.in.use(n)
	return n, err
}

func (v *abortValve) Write(p []byte) (int, error) {
	n := v.out.allow(len(p))
	k, err := v.TCPConn.Write(p[:n])
	v.out.use(k)
	if err == nil && k < len(p) {
		v.out.block()
		err = os.ErrDeadlineExceeded
	}
	return k, err
}

func (v *abortValve) SetReadDeadline(t time.Time) error {
	v.in.setDeadline(t)
	return v.TCPConn.SetReadDeadline(t)
}

func (v *abortValve) SetWriteDeadline(t time.Time) error {
	v.out.setDeadline(t)
	return v.TCPConn.SetWriteDeadline(t)
}

func (v *abortValve) SetDeadline(t time.Time) error {
	return errors.Join(v.SetReadDeadline(t), v.SetWriteDeadline(t))
}

func (v *abortValve) Close() error {
	v.in.setDeadline(time.Unix(1, 0))
	v.out.setDeadline(time.Unix(1, 0))
	return v.TCPConn.Close()
}

// An abortGauge is one direction of a valve.
type abortGauge struct {
	stays    bool          // it never opens
	blocked  chan struct{} // closed when a call waits
	announce sync.Once

	mu      sync.Mutex
	left    int           // guarded by mu; negative if open
	passed  int           // guarded by mu
	timer   *time.Timer   // guarded by mu
	expired chan struct{} // closed when the deadline passes; guarded by mu
}

func newAbortGauge(n int) *abortGauge {
	return &abortGauge{left: n, blocked: make(chan struct{}), expired: make(chan struct{})}
}

// limit lets n more bytes through from now on.
func (g *abortGauge) limit(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = n
}

func (g *abortGauge) allow(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left < 0 {
		return n
	}
	return min(n, g.left)
}

func (g *abortGauge) use(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passed += n
	if g.left >= 0 {
		g.left = max(0, g.left-n)
	}
}

// count returns how many bytes have passed.
func (g *abortGauge) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.passed
}

func (g *abortGauge) block() {
	g.mu.Lock()
	expired := g.expired
	g.mu.Unlock()
	g.announce.Do(func() { close(g.blocked) })
	<-expired
	if !g.stays {
		g.limit(-1)
	}
}

func (g *abortGauge) setDeadline(t time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	select {
	case <-g.expired:
		g.expired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	expired := g.expired
	if left := time.Until(t); left > 0 {
		g.timer = time.AfterFunc(left, func() { g.expire(expired) })
		return
	}
	close(expired)
}

// expire is for a timer that may have fired just before it was stopped.
func (g *abortGauge) expire(expired chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-expired:
	default:
		close(expired)
	}
}
