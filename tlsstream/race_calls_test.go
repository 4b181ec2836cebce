package tlsstream_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

var (
	raceRounds = flag.Int("race.rounds", 300, "rounds of calls raced against each other, over each transport")
	raceSeed   = flag.Uint64("race.seed", 0, "if not zero, run only the round of this seed")
)

// A raceVerdict is a documented outcome of a call.
type raceVerdict string

const (
	raceOK        raceVerdict = "ok"
	raceTimeout   raceVerdict = "deadline"      // os.ErrDeadlineExceeded, and the user had set one
	raceLate      raceVerdict = "not sent"      // the same, of CloseTimeout or DrainTimeout
	raceClosed    raceVerdict = "closed"        // net.ErrClosed: Close, Abort or CloseWrite was called here
	raceEOF       raceVerdict = "end"           // io.EOF: the peer's close_notify, or CloseRead
	raceTruncated raceVerdict = "truncated"     // ErrTruncated: the peer's bare FIN
	raceAlert     raceVerdict = "peer's alert"  // an AlertError that is Remote
	raceReset     raceVerdict = "reset"         // ECONNRESET, EPIPE, or ENOTCONN
	raceData      raceVerdict = "data"          // the peer sent data after CloseRead
	raceEnded     raceVerdict = "ended already" // Abort after CloseWrite
	raceEarly     raceVerdict = "too early"     // CloseWrite before the handshake is complete
	raceBroken    raceVerdict = "broke a Write" // Close, with WriteBehind, when a Write waited for room
	raceUnknown   raceVerdict = "UNDOCUMENTED"
)

// judge finds the verdict for an error.
func (r *raceRound) judge(err error) raceVerdict {
	seen := alertIn(err)
	switch {
	case err == nil:
		return raceOK
	case seen.Remote && seen.Alert == raceAlertSent:
		return raceAlert
	case errors.Is(err, net.ErrClosed): // an AlertError of Abort's too
		return raceClosed
	case seen != alertSeen{}:
		return raceUnknown // this side has found fault with the peer, which made none
	case errors.Is(err, os.ErrDeadlineExceeded) && r.deadline.Load():
		return raceTimeout
	case errors.Is(err, os.ErrDeadlineExceeded):
		return raceLate
	case errors.Is(err, tlsstream.ErrTruncated):
		return raceTruncated
	case errors.Is(err, io.EOF):
		return raceEOF
	case isRaceReset(err):
		return raceReset
	case errors.Is(err, ticketdefer.ErrEnded):
		return raceEnded
	case strings.Contains(err.Error(), "application data after CloseRead"):
		return raceData
	case strings.Contains(err.Error(), "before the handshake"):
		return raceEarly
	case strings.Contains(err.Error(), "a Write was in progress"):
		return raceBroken
	}
	return raceUnknown
}

// A raceCall is a call on the stream under test, and what it may return beside nil.
type raceCall struct {
	name string
	call func(r *raceRound, random *rand.Rand) error
	may  []raceVerdict
}

var raceCalls = []raceCall{
	{"Handshake", func(r *raceRound, _ *rand.Rand) error { return r.conn.Handshake() },
		[]raceVerdict{raceTimeout, raceClosed}},
	{"Read", func(r *raceRound, random *rand.Rand) error {
		_, err := r.conn.Read(make([]byte, 1+random.IntN(1<<12)))
		return err
	}, []raceVerdict{raceTimeout, raceClosed, raceEOF, raceTruncated, raceAlert, raceReset}},
	{"Write", func(r *raceRound, random *rand.Rand) error {
		_, err := r.conn.Write(make([]byte, random.IntN(1<<random.IntN(21))))
		return err
	}, []raceVerdict{raceTimeout, raceClosed, raceEOF, raceTruncated, raceAlert, raceReset, raceData}},
	{"Flush", func(r *raceRound, _ *rand.Rand) error { return r.conn.Flush() },
		[]raceVerdict{raceTimeout, raceClosed, raceEOF, raceTruncated, raceAlert, raceReset, raceData}},
	{"SetDeadline", func(r *raceRound, random *rand.Rand) error {
		return r.conn.SetDeadline(r.someDeadline(random))
	}, []raceVerdict{raceClosed}},
	{"SetReadDeadline", func(r *raceRound, random *rand.Rand) error {
		return r.conn.SetReadDeadline(r.someDeadline(random))
	}, []raceVerdict{raceClosed}},
	{"SetWriteDeadline", func(r *raceRound, random *rand.Rand) error {
		return r.conn.SetWriteDeadline(r.someDeadline(random))
	}, []raceVerdict{raceClosed}},
	{"FlushTickets", func(r *raceRound, _ *rand.Rand) error { return r.conn.FlushTickets() },
		[]raceVerdict{raceTimeout, raceClosed, raceAlert, raceReset}},
	{"CloseWrite", func(r *raceRound, _ *rand.Rand) error { return r.conn.CloseWrite() },
		[]raceVerdict{raceTimeout, raceClosed, raceAlert, raceReset, raceEarly}},
	{"CloseRead", func(r *raceRound, _ *rand.Rand) error { return r.conn.CloseRead() },
		[]raceVerdict{raceTimeout, raceClosed}},
	{"Abort", func(r *raceRound, _ *rand.Rand) error { return r.conn.Abort(raceAlertSent) },
		[]raceVerdict{raceTimeout, raceLate, raceClosed, raceReset, raceEnded}},
	{"Close", func(r *raceRound, _ *rand.Rand) error { return r.close() },
		[]raceVerdict{raceTimeout, raceLate, raceClosed, raceAlert, raceReset, raceData, raceBroken}},
}

// raceAlertSent is the one alert that either side sends. Any other means that a
// stream has come out of step.
const raceAlertSent = tlsstream.AlertInternalError

// someDeadline is one that has passed, one that will soon, or none.
func (r *raceRound) someDeadline(random *rand.Rand) time.Time {
	switch random.IntN(3) {
	case 0:
		return time.Time{}
	case 1:
		r.deadline.Store(true)
		return time.Unix(1, 0)
	}
	r.deadline.Store(true)
	return time.Now().Add(time.Duration(random.IntN(int(20 * time.Millisecond))))
}

// A raceRound is one stream under test, on which goroutines make calls at random.
type raceRound struct {
	seed     uint64
	conn     *tlsstream.Conn
	deadline atomic.Bool // the user has set one
	tally    *raceTally
}

// raceTimeouts are those of every round, and interrupt is how long Close waits for
// a Read that it calls back; see [tlsstream.Conn.Close].
const (
	raceTimeouts  = 30 * time.Millisecond
	raceInterrupt = 500 * time.Millisecond
)

func (r *raceRound) close() error {
	began := time.Now()
	err := r.conn.Close()
	r.tally.closed(time.Since(began))
	return err
}

// A raceTally counts over all rounds.
type raceTally struct {
	mu      sync.Mutex
	counts  map[string]int // guarded by mu
	faults  []string       // guarded by mu
	slowest time.Duration  // of the Closes; guarded by mu
}

func (y *raceTally) closed(took time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.slowest = max(y.slowest, took)
}

func (y *raceTally) count(what string, v raceVerdict) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.counts[what+": "+string(v)]++
}

func (y *raceTally) fault(seed uint64, format string, args ...any) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.faults = append(y.faults, fmt.Sprintf("-race.seed=%d: ", seed)+fmt.Sprintf(format, args...))
}

// report fails the test if there were faults, and logs the counts.
func (y *raceTally) report(t *testing.T, slack time.Duration) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, f := range y.faults[:min(len(y.faults), 10)] {
		t.Error(f)
	}
	bound := 2*raceTimeouts + raceInterrupt
	if y.slowest > bound+slack {
		t.Errorf("a Close took %v, and must not take more than %v", y.slowest, bound)
	}
	var lines []string
	for what, n := range y.counts {
		lines = append(lines, fmt.Sprintf("%7d %s", n, what))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[8:], b[8:]) })
	t.Logf("slowest Close %v\n%s", y.slowest, strings.Join(lines, "\n"))
}

// run makes the round: a handshake, before the calls or among them; calls at once,
// and Close among them. ours and theirs are the transport.
func (r *raceRound) run(t *testing.T, ours, theirs net.Conn) {
	random := rand.New(rand.NewPCG(r.seed, 0))
	client := random.IntN(2) == 0
	o := &tlsstream.Options{CloseTimeout: raceTimeouts, DrainTimeout: raceTimeouts, DropAfterCloseRead: random.IntN(2) == 0}
	if random.IntN(4) == 0 {
		o.DrainTimeout = -1
	}
	if random.IntN(2) == 0 {
		o.WriteBehind = 1 + random.IntN(1<<random.IntN(20))
	}
	clientConfig, serverConfig := endConfigs()
	peerConfig := clientConfig
	if client {
		peerConfig = serverConfig
		r.conn = o.Client(ours, clientConfig)
	} else {
		r.conn = o.Server(ours, serverConfig)
	}
	defer theirs.Close()
	peer := racePeers[random.IntN(len(racePeers))]
	if random.IntN(4) == 0 {
		peer = raceStranger
	}
	peerDone := peer(t, r, theirs, !client, peerConfig, rand.New(rand.NewPCG(r.seed, 1)))

	var calls sync.WaitGroup
	start := make(chan struct{})
	for i := range 3 + random.IntN(6) {
		c := raceCalls[random.IntN(len(raceCalls))]
		own := rand.New(rand.NewPCG(r.seed, uint64(2+i)))
		calls.Go(func() {
			<-start
			for range own.IntN(3) {
				time.Sleep(time.Duration(own.IntN(int(time.Millisecond)))) // so that calls meet in many ways
			}
			r.check(c, c.call(r, own))
		})
	}
	close(start)
	time.Sleep(time.Duration(random.IntN(int(3 * time.Millisecond))))
	r.check(raceCalls[len(raceCalls)-1], r.close())
	calls.Wait()
	select {
	case <-r.conn.Done():
	default:
		r.tally.fault(r.seed, "Done is open after Close")
	}
	if r.conn.Err() == nil {
		r.tally.fault(r.seed, "Err is nil after Close")
	}
	theirs.Close()
	<-peerDone
}

func (r *raceRound) check(c raceCall, err error) {
	v := r.judge(err)
	if strings.HasPrefix(c.name, "Set") && errors.Is(err, io.ErrClosedPipe) {
		v = raceClosed // what net.Pipe says of itself
	}
	r.tally.count(c.name, v)
	if v != raceOK && !slices.Contains(c.may, v) {
		r.tally.fault(r.seed, "%s: %s: %v", c.name, v, err)
	}
}

// rounds runs f with the seeds of all rounds, or with the one that was asked for.
func raceSeeds(f func(seed uint64)) {
	if *raceSeed != 0 {
		f(*raceSeed)
		return
	}
	for seed := range uint64(*raceRounds) {
		f(seed + 1)
	}
}

// Every call that is raced against every other ends in one of its documented ways,
// Close within its bound, and nothing is left of the stream.
func TestCallsRacedOverTCPEndAsDocumented(t *testing.T) {
	before := goleak.IgnoreCurrent()
	tally := &raceTally{counts: make(map[string]int)}
	l := endListen(t)
	raceSeeds(func(seed uint64) {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r := &raceRound{seed: seed, tally: tally}
		hung := time.AfterFunc(2*endPatience, func() { panic(fmt.Sprintf("hung: -race.seed=%d", seed)) })
		r.run(t, client, server)
		hung.Stop()
		client.Close()
	})
	tally.report(t, 2*time.Second) // the machine may be busy
	goleak.VerifyNone(t, before)
}

// The same over a pipe without a buffer, on the clock of a bubble: the bound is
// exact, a goroutine that stays behind is a panic, and a timer is seen.
func TestCallsRacedInABubbleEndAsDocumented(t *testing.T) {
	tally := &raceTally{counts: make(map[string]int)}
	raceSeeds(func(seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			r := &raceRound{seed: seed, tally: tally}
			transport := &drainPipe{Conn: ours}
			r.run(t, transport, theirs)
			transport.staysDead(t)
		})
	})
	tally.report(t, 0)
}
