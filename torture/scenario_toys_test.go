package torture

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"slices"
	"testing"
)

// A brokenConn is crypto/tls with methods that do something wrong; those that are nil are crypto/tls's own.
type brokenConn struct {
	*tls.Conn
	read       func(c *brokenConn, p []byte) (int, error)
	write      func(c *brokenConn, p []byte) (int, error)
	closeWrite func(c *brokenConn) error
	close      func(c *brokenConn) error

	held  []byte
	final error
}

func (c *brokenConn) Read(p []byte) (int, error) {
	if c.read != nil {
		return c.read(c, p)
	}
	return c.Conn.Read(p)
}

func (c *brokenConn) Write(p []byte) (int, error) {
	if c.write != nil {
		return c.write(c, p)
	}
	return c.Conn.Write(p)
}

func (c *brokenConn) CloseWrite() error {
	if c.closeWrite != nil {
		return c.closeWrite(c)
	}
	return c.Conn.CloseWrite()
}

func (c *brokenConn) Close() error {
	if c.close != nil {
		return c.close(c)
	}
	return c.Conn.Close()
}

// brokenStack breaks both ends in the same way.
func brokenStack(broken brokenConn) Stack {
	wrap := func(conn *tls.Conn) Conn {
		c := broken
		c.Conn = conn
		return &c
	}
	return Stack{
		Name:   "broken",
		Server: func(conn net.Conn, config *tls.Config) Conn { return wrap(tls.Server(conn, config)) },
		Client: func(conn net.Conn, config *tls.Config) Conn { return wrap(tls.Client(conn, config)) },
	}
}

// The ways to be broken.
var (
	// Every failure looks like the end of the stream.
	everyEndIsGood = brokenConn{read: func(c *brokenConn, p []byte) (int, error) {
		n, err := c.Conn.Read(p)
		if err != nil {
			err = io.EOF
		}
		return n, err
	}}

	// Something else than what was sent is delivered.
	garbles = brokenConn{read: func(c *brokenConn, p []byte) (int, error) {
		n, err := c.Conn.Read(p)
		for i := range p[:n] {
			p[i] ^= 1
		}
		return n, err
	}}

	// What is written last goes nowhere, and Close says that all is well.
	buffersForEver = brokenConn{write: func(c *brokenConn, p []byte) (int, error) {
		last := c.held
		c.held = slices.Clone(p)
		_, err := c.Conn.Write(last)
		return len(p), err
	}}

	// The end of one half is the end of both.
	closesBothHalves = brokenConn{closeWrite: func(c *brokenConn) error { return c.Conn.Close() }}

	// A Write waits until the peer has said something.
	writesAfterReading = brokenConn{write: func(c *brokenConn, p []byte) (int, error) {
		if c.held == nil {
			c.held = make([]byte, 1<<10)
			if _, err := io.ReadFull(c.Conn, c.held); err != nil {
				return 0, err
			}
		}
		return c.Conn.Write(p)
	}}

	// The first error of Read is its last, if it is only a deadline.
	deadlineIsFinal = brokenConn{read: func(c *brokenConn, p []byte) (n int, err error) {
		if c.final == nil {
			n, c.final = c.Conn.Read(p)
		}
		return n, c.final
	}}

	// A failure is a reason to panic.
	panics = brokenConn{read: func(c *brokenConn, p []byte) (int, error) {
		n, err := c.Conn.Read(p)
		if err != nil && err != io.EOF {
			panic(err)
		}
		return n, err
	}}

	// Write has done its duty when there is nobody left to write to.
	ignoresFailedWrites = brokenConn{
		write: func(c *brokenConn, p []byte) (int, error) { c.Conn.Write(p); return len(p), nil },
		read:  everyEndIsGood.read,
		close: func(c *brokenConn) error { c.Conn.Close(); return nil },
	}
)

// Where crypto/tls is right to pass, a stack that is not must fail all the same.
func TestEveryScenarioCatchesABrokenStack(t *testing.T) {
	caught := make(map[string]bool)
	for _, test := range []struct {
		scenario, network string
		broken            brokenConn
		want              Class
	}{
		{"key-update-both-sides", "pipe-strict", garbles, Corrupted},
		{"many-tickets", "pipe-strict", garbles, Corrupted},
		{"early-close", "pipe-strict", ignoresFailedWrites, SilentLoss},
		{"both-write-first", "pipe-strict", writesAfterReading, Deadlock},
		{"half-close", "pipe-linux", closesBothHalves, Lost},
		{"close-race", "pipe-strict", garbles, Corrupted},
		{"download", "pipe-strict", buffersForEver, SilentLoss},
		{"truncated-record", "pipe-linux", everyEndIsGood, SilentLoss},
		{"vanish-at-byte-k", "pipe-linux", panics, WrongError},
		{"read-deadline", "pipe-strict", deadlineIsFinal, Lost},
		{"limit-close-notify", "pipe-linux", garbles, Corrupted},
		{"limit-record", "pipe-linux", everyEndIsGood, SilentLoss},
		{"upload-from-openssl", "tcp", garbles, Corrupted},
		{"upload-from-gnutls", "tcp", garbles, Corrupted},
	} {
		caught[test.scenario] = true
		t.Run(test.scenario, func(t *testing.T) {
			report, err := Run(t.Context(), Plan{
				Stacks:    []Stack{brokenStack(test.broken)},
				Scenarios: scenarioNamed(t, test.scenario),
				Networks:  networksNamed(t, test.network),
				Runs:      2,
				SizeBytes: 256 << 10,
				Seed:      1,
			})
			if err != nil {
				t.Fatal(err)
			}
			row := report.Rows[0]
			if row.Verdict == Skipped && os.Getenv("CI") == "" {
				t.Skip(row.Reason)
			}
			if row.Verdict != test.want {
				t.Errorf("verdict %v, want %v; first failure %+v", row.Verdict, test.want, row.FirstFailure)
			}
		})
	}
	for _, s := range Scenarios() {
		if !caught[s.Name] && !slices.ContainsFunc(s.On, func(on On) bool { return !on.ControlPasses }) {
			t.Errorf("%s: crypto/tls passes it everywhere, and nothing shows that it can fail", s.Name)
		}
	}
}

// An unbroken brokenConn must pass, or the test above would prove nothing.
func TestUnbrokenToyPassesWhereControlsPassEverywhere(t *testing.T) {
	var scenarios []Scenario
	for _, s := range Scenarios() {
		if !slices.ContainsFunc(s.On, func(on On) bool { return !on.ControlPasses }) {
			scenarios = append(scenarios, s)
		}
	}
	report, err := Run(t.Context(), Plan{
		Stacks:    []Stack{brokenStack(brokenConn{})},
		Scenarios: scenarios,
		Runs:      2,
		SizeBytes: 256 << 10,
		Seed:      1,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if row.Verdict.failed() {
			t.Errorf("%s over %s: %v", row.Scenario, row.Network, row.FirstFailure)
		}
	}
}

// A stack that lacks a method is not judged, and the row says why.
func TestMissingMethodIsSkippedWithAReason(t *testing.T) {
	type bare struct{ Conn } // neither CloseWrite nor Abort
	report, err := Run(t.Context(), Plan{
		Stacks: []Stack{{
			Name:   "bare",
			Server: func(conn net.Conn, config *tls.Config) Conn { return bare{tls.Server(conn, config)} },
		}},
		Scenarios: scenarioNamed(t, "early-response"),
		Networks:  networksNamed(t, "pipe-strict"),
		Runs:      1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if row := report.Rows[0]; row.Verdict != Skipped || row.Reason != "torture.bare has no CloseWrite" || report.Status != Clean {
		t.Errorf("got %v, %q, status %v", row.Verdict, row.Reason, report.Status)
	}
}
