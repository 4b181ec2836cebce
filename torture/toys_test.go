package torture

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// A toy is a crypto/tls server whose Read is broken in one way.
type toy struct {
	*tls.Conn
	transport net.Conn
	read      func(t *toy, p []byte) (int, error)

	total int // bytes read
	held  []byte
}

func (t *toy) Read(p []byte) (int, error) { return t.read(t, p) }

// newToy has tickets off, so that what it does wrong is the toy's own fault.
func newToy(read func(*toy, []byte) (int, error)) Stack {
	return Stack{Name: "toy", Server: func(conn net.Conn, config *tls.Config) Conn {
		config = config.Clone()
		config.SessionTicketsDisabled = true
		return &toy{Conn: tls.Server(conn, config), transport: conn, read: read}
	}}
}

// dropTail returns each piece when the next one has come, and so loses the last.
func dropTail(t *toy, p []byte) (int, error) {
	for {
		next := make([]byte, len(p))
		n, err := t.Conn.Read(next)
		if err != nil {
			return 0, err
		}
		last := t.held
		t.held = next[:n]
		if last != nil {
			return copy(p, last), nil
		}
	}
}

func giveUp(t *toy, p []byte) (int, error) {
	if t.total > 100_000 {
		return 0, errors.New("toy gives up")
	}
	n, err := t.Conn.Read(p)
	t.total += n
	return n, err
}

func flipBit(t *toy, p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if at := 100_000 - t.total; at >= 0 && at < n {
		p[at] ^= 1
	}
	t.total += n
	return n, err
}

func reportReset(t *toy, p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if err == io.EOF {
		err = syscall.ECONNRESET
	}
	return n, err
}

// writeOutOfTurn sends more than any buffer takes, to a client that never reads.
func writeOutOfTurn(t *toy, p []byte) (int, error) {
	if _, err := t.transport.Write(make([]byte, 1<<20)); err != nil {
		return 0, err
	}
	return t.Conn.Read(p)
}

func TestVerdictNamesWhatAStackDidWrong(t *testing.T) {
	for _, test := range []struct {
		name   string
		read   func(*toy, []byte) (int, error)
		want   Verdict
		status Status
	}{
		{"nothing", func(t *toy, p []byte) (int, error) { return t.Conn.Read(p) }, Verdict{}, Clean},
		{"drops the tail", dropTail, Verdict{Class: SilentLoss, LostBytes: chunkBytes, Detail: `the server read 245760 of 262144 bytes, then success; the client was told success`}, StatusOf(SilentLoss)},
		{"corrupts", flipBit, Verdict{Class: Corrupted, LostBytes: 0, Detail: `the server read a wrong byte at offset 100000`}, StatusOf(Corrupted)},
		{"reports a reset", reportReset, Verdict{Class: WrongError, LostBytes: 0, Detail: `every byte arrived; the client was told success; the server was told "read: connection reset by peer"`}, StatusOf(WrongError)},
		{"writes out of turn", writeOutOfTurn, Verdict{Class: Deadlock, LostBytes: 0, Detail: `the client waits in write (transport write), the server waits in read (transport write)`}, Deadlocked},
	} {
		t.Run(test.name, func(t *testing.T) {
			report := runToy(t, test.read)
			row := report.Rows[0]
			var got Verdict
			if row.FirstFailure != nil {
				got = row.FirstFailure.Verdict
				got.Stacks = ""
			}
			if got != test.want || row.Verdict != test.want.Class {
				t.Errorf("verdict %v\n   want %v", got, test.want)
			}
			if report.Status != test.status {
				t.Errorf("status %v, want %v", report.Status, test.status)
			}
		})
	}
}

// How much of what it wrote the client is told of is up to the scheduler.
func TestLossWithAnErrorIsNotSilent(t *testing.T) {
	report := runToy(t, giveUp)
	if row := report.Rows[0]; row.Verdict != Lost || row.LostRuns != row.Trials || row.SilentLossRuns != 0 || row.MedianLostBytes == 0 {
		t.Errorf("got %+v, want runs with lost bytes and an error", row)
	}
}

func runToy(t *testing.T, read func(*toy, []byte) (int, error)) *Report {
	t.Helper()
	return runStack(t, newToy(read))
}

func runStack(t *testing.T, stack Stack) *Report {
	t.Helper()
	report, err := Run(t.Context(), Plan{
		Stacks:    []Stack{stack},
		Scenarios: scenarioNamed(t, "upload"),
		Networks:  networksNamed(t, "pipe-linux"),
		Runs:      2,
		SizeBytes: 256 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// A stack may ignore that its transport is closed. The plan goes on without it.
func TestStackThatNeverReturnsIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		report := runToy(t, func(t *toy, p []byte) (int, error) {
			<-release
			return 0, io.EOF
		})
		row := report.Rows[0]
		want := "the client waits in write (transport write), the server waits in read; " +
			"the server had not returned 10s after its transport was closed"
		if row.DeadlockedRuns != row.Trials || row.FirstFailure.Detail != want {
			t.Errorf("got %+v\n with %v", row, row.FirstFailure)
		}
	})
}

// A Read that returns nothing, and no error, for ever ends with its trial: the leak check of TestMain sees to it.
func TestStackThatReadsNothingForEverIsStopped(t *testing.T) {
	report := runToy(t, func(*toy, []byte) (int, error) { return 0, nil })
	row := report.Rows[0]
	if row.DeadlockedRuns != row.Trials || strings.Contains(row.FirstFailure.Detail, "had not returned") {
		t.Errorf("got %+v\n with %v", row, row.FirstFailure)
	}
}
