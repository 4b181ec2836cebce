package tlsstream_test

import (
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// Of the calls that write, each races each while something is in flight, with a
// peer that reads and one that does not, and all end as documented.
func TestWriteBehindCallsRacedInPairs(t *testing.T) {
	writing := []string{"Write", "Flush", "FlushTickets", "Close", "Abort", "SetWriteDeadline", "CloseWrite"}
	calls := slices.DeleteFunc(slices.Clone(raceCalls), func(c raceCall) bool { return !slices.Contains(writing, c.name) })
	tally := &raceTally{counts: make(map[string]int)}
	seed := uint64(0)
	for _, one := range calls {
		for _, other := range calls {
			for _, limit := range []int{1, 5000, 1 << 20} {
				for _, reads := range []bool{false, true} {
					seed++
					racePair(t, &raceRound{seed: seed, tally: tally}, one, other, limit, reads)
				}
			}
		}
	}
	tally.report(t, 0)
}

func racePair(t *testing.T, r *raceRound, one, other raceCall, limit int, reads bool) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		transport := &drainPipe{Conn: ours}
		clientConfig, serverConfig := endConfigs()
		o := &tlsstream.Options{CloseTimeout: raceTimeouts, DrainTimeout: raceTimeouts, WriteBehind: limit}
		r.conn = o.Server(transport, serverConfig)
		peer := newRaceFriend(theirs, true, clientConfig)
		if err := handshakeBoth(peer, r.conn); err != nil {
			t.Fatal(err)
		}
		if _, err := r.conn.Write(make([]byte, min(limit, 3000))); err != nil {
			t.Fatal(err)
		}
		var both, reader sync.WaitGroup
		if reads {
			reader.Go(func() { io.Copy(io.Discard, peer) })
		}
		random := rand.New(rand.NewPCG(r.seed, 0))
		for i, c := range []raceCall{one, other} {
			own := rand.New(rand.NewPCG(r.seed, uint64(1+i)))
			after := time.Duration(random.IntN(2)) * time.Microsecond
			both.Go(func() {
				time.Sleep(after)
				r.check(c, c.call(r, own))
			})
		}
		time.Sleep(time.Second) // a call may wait for ever, until Close
		r.check(raceCalls[len(raceCalls)-1], r.close())
		both.Wait()
		if s := r.conn.Stats(); s.Gathered > 0 {
			r.tally.fault(r.seed, "Stats after Close: %+v", s)
		}
		theirs.Close()
		reader.Wait()
		transport.staysDead(t)
	})
}
