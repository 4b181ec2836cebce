package bench

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

func TestRequestsSurviveTheWire(t *testing.T) {
	for _, want := range []request{
		{op: opMemory, kind: "-", stack: "-"},
		{op: opRun, lane: 3, kind: pingPong, stack: "tlsstream-own", port: 65535, conns: 7, size: 1 << 20, count: 1 << 40},
	} {
		got, err := parseRequest(strings.TrimSuffix(want.String(), "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	for _, bad := range []string{"", "run", "run x one-way stdlib 0 0 0 0", "run 1 one-way stdlib 0 0 0"} {
		if got, err := parseRequest(bad); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

// A connection on which nothing comes ends the slice, and the lane with it.
func TestStuckSliceEnds(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	l := &lane{server: true, timeout: 20 * time.Millisecond, conns: []*conn{{raw: here, tls: plainConn{here}}}}
	if err := l.start(request{kind: oneWay, size: 1, count: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.finish(); err == nil || err.Error() != "no progress for 20ms" {
		t.Errorf("%v", err)
	}
	if l.add(&conn{}) {
		t.Error("the lane is open")
	}
}

// An endpoint that says nothing is killed.
func TestSilentProcessIsGivenUp(t *testing.T) {
	p, err := newPlaces(t.TempDir(), true).start("sleeper", 0, []string{tlstest.Program(t, "sleep"), "60"})
	if err != nil {
		t.Fatal(err)
	}
	p.timeout = 20 * time.Millisecond
	began := time.Now()
	if _, err := p.call(request{op: opMemory}); err == nil || err.Error() != "no answer from the sleeper for 20ms" {
		t.Errorf("%v", err)
	}
	p.close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// What has another cipher suite is not compared.
func TestOtherCipherSuiteIsRefused(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	other := func(conn net.Conn) Conn { return suiteConn{plainConn{conn}, tls.TLS_CHACHA20_POLY1305_SHA256} }
	if _, err := (&lane{wrap: other}).handshake(here); err == nil || !strings.Contains(err.Error(), "TLS_CHACHA20_POLY1305_SHA256") {
		t.Errorf("%v", err)
	}
}

type suiteConn struct {
	plainConn
	suite uint16
}

func (c suiteConn) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{CipherSuite: c.suite}
}

func TestWordsKeepBothEnds(t *testing.T) {
	var short, long words
	for range 3 {
		short.Write([]byte("two\nlines\n"))
	}
	if got, want := short.text(), "two lines two lines two lines"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	long.Write([]byte("the cause\n"))
	for range 1000 {
		long.Write([]byte("goroutine\n"))
	}
	long.Write([]byte("the end\n"))
	got := long.text()
	if !strings.HasPrefix(got, "the cause goroutine") || !strings.HasSuffix(got, "goroutine the end") || !strings.Contains(got, "[...]") ||
		len(got) > firstBytes+lastBytes+10 {
		t.Errorf("%q", got)
	}
}
