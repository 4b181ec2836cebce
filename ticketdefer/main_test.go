package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

var testCA = tlstest.NewCA()

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		// The fuzzing engine keeps goroutines of its own.
		os.Exit(m.Run())
	}
	code := m.Run()
	if code == 0 && !registryDrains() {
		fmt.Fprintf(os.Stderr, "FAIL: the registry still knows %d gates after all connections ended\n", registered())
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintf(os.Stderr, "FAIL: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// registered counts the gates that wait for a secret.
func registered() int {
	sessions.mu.Lock()
	defer sessions.mu.Unlock()
	n := len(sessions.byECH)
	for _, gates := range sessions.byRandom {
		n += len(gates)
	}
	return n
}

// registryDrains reports whether the registry is empty, after the garbage
// collector has had its say.
func registryDrains() bool {
	for range 100 {
		if registered() == 0 {
			return true
		}
		runtime.GC() // cleanups run in a goroutine of the runtime, behind it
		runtime.Gosched()
	}
	return false
}

// testTimeout bounds a test that hangs; nothing waits for it otherwise.
const testTimeout = 30 * time.Second

// A recorder is a transport that notes what is written to it, call by call.
type recorder struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, bytes.Clone(p))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

// take returns the writes since the last call.
func (r *recorder) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.writes
	r.writes = nil
	return w
}

func (r *recorder) CloseWrite() error {
	return r.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// A keyLog keeps what TLS writes to a KeyLogWriter.
type keyLog struct{ tlstest.Buffer }

// secret returns the only secret with the given label.
func (l *keyLog) secret(t testing.TB, label string) []byte {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == label {
			secret, err := hex.DecodeString(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
	}
	t.Fatalf("no %s was logged", label)
	return nil
}

// shake runs both handshakes.
func shake(t testing.TB, server, client interface{ Handshake() error }) {
	t.Helper()
	if err := tryShake(server, client); err != nil {
		t.Fatal(err)
	}
}

func tryShake(server, client interface{ Handshake() error }) error {
	run := func(side interface{ Handshake() error }) error {
		err := side.Handshake()
		if c, ok := side.(io.Closer); ok && err != nil {
			c.Close() // or the other side waits for what never comes
		}
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- run(server) }()
	return errors.Join(run(client), <-failed)
}

// resumable returns client settings with a cache: without one, a crypto/tls
// client asks for no ticket, and every test about tickets passes vacuously.
func resumable() *tls.Config {
	c := testCA.ClientConfig()
	c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	return c
}

func mustRead(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func mustWrite(t testing.TB, w io.Writer, p []byte) {
	t.Helper()
	if n, err := w.Write(p); n != len(p) || err != nil {
		t.Fatalf("Write of %d bytes = %d, %v", len(p), n, err)
	}
}

func mustEqual(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s, -want +got:\n%s", what, diff)
	}
}

// exchange sends word from w to r.
func exchange(t testing.TB, w io.Writer, r io.Reader, word string) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w, word)
		failed <- err
	}()
	got := make([]byte, len(word))
	n, err := io.ReadFull(r, got)
	if err := errors.Join(err, <-failed); err != nil {
		t.Fatalf("sending %q: %v", word, err)
	}
	mustEqual(t, "what arrived", word, string(got[:n]))
}

// randomBytes returns n bytes that depend on seed only.
func randomBytes(seed uint64, n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	rng.Read(p)
	return p
}

// records cuts p into records, and fails if it is anything else.
func records(t testing.TB, p []byte) [][]byte {
	t.Helper()
	out, bad := split(p)
	if n := len(slices.Concat(out...)); bad || n != len(p) {
		t.Fatalf("%d bytes behind %d records are no record", len(p)-n, len(out))
	}
	return out
}
