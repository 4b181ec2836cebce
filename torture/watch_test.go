package torture

import (
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// swap hands over each pair of pieces in the wrong order.
func swap(t *toy, p []byte) (int, error) {
	if t.held != nil {
		n := copy(p, t.held)
		t.held = nil
		return n, nil
	}
	first := make([]byte, len(p))
	n, err := t.Conn.Read(first)
	if err != nil {
		return 0, err
	}
	t.held = first[:n]
	return t.Conn.Read(p)
}

func TestSwappedPiecesAreReordered(t *testing.T) {
	row := runToy(t, swap).Rows[0]
	want := Verdict{Class: Reordered, Detail: "the server read at offset 0 what belongs at offset 1186"} // crypto/tls begins with small records
	if row.Counts[Reordered] != row.Trials || row.FirstFailure.Verdict != want {
		t.Errorf("got %v, %v\nwant %v", row.Counts, row.FirstFailure, want)
	}
}

// hangingToy is a server whose Close waits for something that does not come.
type hangingToy struct {
	*tls.Conn
	release <-chan struct{}
}

func (c hangingToy) Close() error {
	<-c.release
	return c.Conn.Close()
}

func TestCloseBeyondItsBoundHangs(t *testing.T) {
	for _, test := range []struct {
		after time.Duration
		want  Class
	}{
		{closeBound - time.Second, OK},
		{closeBound + time.Second, HungClose},
	} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			time.AfterFunc(test.after, func() { close(release) })
			row := runStack(t, Stack{Name: "toy", Server: func(conn net.Conn, config *tls.Config) Conn {
				config.SessionTicketsDisabled = true
				return hangingToy{tls.Server(conn, config), release}
			}}).Rows[0]
			if row.Verdict != test.want {
				t.Errorf("Close takes %v: %v with %v", test.after, row.Verdict, row.FirstFailure)
			}
			if row.FirstFailure != nil && !strings.Contains(row.FirstFailure.Stacks, "torture.hangingToy.Close") {
				t.Errorf("the stacks do not show who waits:\n%s", row.FirstFailure.Stacks)
			}
		})
	}
}

// The toys' upload is 256 KiB: at the floor 4 s, and 10 s of grace.
func TestRunBelowTheFloorIsSlow(t *testing.T) {
	for _, test := range []struct {
		name   string
		pause  time.Duration // shorter than what counts as stuck
		detail string
	}{
		{"it ends", time.Second, "262144 bytes took more than the 14s that the network's floor allows"},
		{"it is stopped", 1500 * time.Millisecond, "still moving when it was stopped, after 2 times what the network's floor allows: " +
			"the client waits in write (transport write), the server waits in read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				row := runToy(t, func(t *toy, p []byte) (int, error) {
					time.Sleep(test.pause)
					return t.Conn.Read(p)
				}).Rows[0]
				if row.Counts[Slow] != row.Trials || row.FirstFailure.Detail != test.detail {
					t.Errorf("got %v with %v", row.Counts, row.FirstFailure)
				}
			})
		})
	}
}

func TestDeadlockShowsTheStacksOfBothSides(t *testing.T) {
	stacks := runToy(t, writeOutOfTurn).Rows[0].FirstFailure.Stacks
	for _, want := range []string{"client, 1 at:\n", "server, 1 at:\n", "torture.writeOutOfTurn  torture/toys_test.go:", "torture.(*side).send"} {
		if !strings.Contains(stacks, want) {
			t.Errorf("no %q in\n%s", want, stacks)
		}
	}
	if strings.Contains(stacks, "watch") || strings.Contains(stacks, "0x") {
		t.Errorf("goroutines of the laboratory, or addresses:\n%s", stacks)
	}
}

func TestStacksAreBounded(t *testing.T) {
	var groups []goroutineGroup
	for range 1000 {
		groups = append(groups, goroutineGroup{trial: "1", side: "client", count: 1, frames: []string{"a  b/c.go:1"}})
	}
	if got := stacksOf("1", groups); len(got) > maxStackBytes+100 || !strings.HasSuffix(got, "\n    and more\n") {
		t.Errorf("%d bytes that end %q", len(got), got[len(got)-40:])
	}
	if got := stacksOf("2", groups); got != "" {
		t.Errorf("goroutines of another trial: %q", got)
	}
}

// leakingToy leaves a goroutine behind.
func leakingToy(until <-chan struct{}) Stack {
	return Stack{Name: "toy", Server: func(conn net.Conn, config *tls.Config) Conn {
		config.SessionTicketsDisabled = true
		go func() { <-until }()
		return tls.Server(conn, config)
	}}
}

func TestGoroutineLeftBehindIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		row := runStack(t, leakingToy(release)).Rows[0]
		if row.Verdict != LeakedGoroutine || !cmp.Equal(row.Counts, map[Class]int{LeakedGoroutine: row.Trials}) {
			t.Fatalf("got %v", row.Counts)
		}
		first := row.FirstFailure
		if first.Trial != 0 || first.Case.Stack != "toy" || !strings.Contains(first.Stacks, "torture/watch_test.go:") {
			t.Errorf("got %+v\n%s", first, first.Stacks)
		}
	})
}

func TestGoroutineThatEndsInTimeIsNoLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		time.AfterFunc(leakGrace/2, func() { close(release) })
		if row := runStack(t, leakingToy(release)).Rows[0]; row.Verdict != OK {
			t.Errorf("got %v", row.FirstFailure)
		}
	})
}

// clog blocks each Write until the network heals.
type clog struct {
	net.Conn
	gone chan struct{}
	once sync.Once
}

func (c *clog) Heal() { c.once.Do(func() { close(c.gone) }) }

func (c *clog) Write(p []byte) (int, error) {
	<-c.gone
	return c.Conn.Write(p)
}

func TestFaultsAreHealedBeforeARunIsCalledDeadlocked(t *testing.T) {
	network := networksNamed(t, "pipe-linux")[0]
	dial := network.Dial
	network.Dial = func(seed uint64) (net.Conn, net.Conn, error) {
		client, server, err := dial(seed)
		return &clog{Conn: client, gone: make(chan struct{})}, server, err
	}
	for _, test := range []struct {
		name string
		read func(*toy, []byte) (int, error)
		want Verdict
	}{
		{"slow is not stuck", func(t *toy, p []byte) (int, error) { return t.Conn.Read(p) }, Verdict{}},
		{"stuck all the same", writeOutOfTurn, Verdict{Class: Deadlock,
			Detail: "with the network's faults gone, the client waits in write (transport write), the server waits in read (transport write)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				played, err := Plan{Stacks: []Stack{newToy(test.read)}, Networks: []Network{network}}.Replay(t.Context(),
					Case{Scenario: "upload-fast-reader", Network: "pipe-linux", Stack: "toy", Size: 256 << 10, Of: 1})
				if err != nil {
					t.Fatal(err)
				}
				played.Verdict.Stacks = ""
				if played.Verdict != test.want {
					t.Errorf("got  %v\nwant %v", played.Verdict, test.want)
				}
			})
		})
	}
}

func TestWrongBytesThatWereNeverSentHaveNoOrigin(t *testing.T) {
	seed := streamSeed(1, "x")
	stream := make([]byte, 3*chunkBytes)
	if _, err := io.ReadFull(rand.NewChaCha8(seed), stream); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 1, chunkBytes - 5, chunkBytes, 2*chunkBytes - 16, 3*chunkBytes - 16} {
		if got := origin(seed, stream[at:at+sampleBytes], int64(len(stream))); got != at {
			t.Errorf("bytes of offset %d found at %d", at, got)
		}
	}
	if got := origin(seed, stream[2*chunkBytes:][:sampleBytes], 2*chunkBytes); got >= 0 {
		t.Errorf("found at %d what had not been sent", got)
	}
	if got := origin(seed, stream[:sampleBytes-1], int64(len(stream))); got >= 0 {
		t.Error("too few bytes prove nothing")
	}
}
