package torture

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"time"
)

// A trial is one run: one scenario, network, stack and seed.
type trial struct {
	scenario *Scenario
	network  *Network
	stack    *Stack
	seed     uint64
	index    int // of this trial in its row
	of       int // trials in the row
	size     int64

	// The scenario's setup may change these.
	identity     *identity
	workshop     *workshop
	serverConfig *tls.Config
	clientConfig *tls.Config
	maxRead      int    // the most that one Read of a transport takes; no limit if zero
	knobs        string // what setup chose, for the report

	client, server *side

	// stopped is closed when the run has to end, for whatever reason, before its transports are closed.
	stopped chan struct{}
}

const (
	// stillTicks is in how many parts StallAfter is cut. A part counts when the scheduler has also come round to the
	// watchdog, so that a starved process does not look like a deadlocked one.
	stillTicks = 8

	// lockPatience is how many times longer a run may be still whose sides are not known to wait for each other: a side
	// may be blocked on a lock, or be starved.
	lockPatience = 4

	// abandonAfter is how long a stack may take to return from its calls once its transport is closed. Stock
	// crypto/tls needs up to 5 s.
	abandonAfter = 10 * time.Second
)

// run plays the trial and judges it. Its error says that the trial could not be played.
func (t *trial) run(ctx context.Context) (Verdict, error) {
	t.serverConfig, t.clientConfig = t.identity.configs()
	if t.scenario.setup != nil {
		t.scenario.setup(t)
	}
	if t.scenario.play != nil {
		return t.scenario.play(ctx, t)
	}
	clientTransport, serverTransport, err := t.dial(ctx)
	if reason, ok := errors.AsType[notHere](err); ok {
		return Verdict{Class: Skipped, Detail: reason.Error()}, nil
	}
	if err != nil {
		return Verdict{}, err
	}
	up, down := streamSeed(t.seed, "up"), streamSeed(t.seed, "down")
	t.client = newSide("client", t, clientTransport, up, down)
	t.server = newSide("server", t, serverTransport, down, up)
	t.client.peer, t.server.peer = t.server, t.client
	t.client.transport.watched().maxRead = t.maxRead
	t.server.transport.watched().maxRead = t.maxRead
	t.stopped = make(chan struct{})

	go t.client.play(t.scenario.client)
	go t.server.play(t.scenario.server)
	stuck, returned := t.watch(ctx)
	if err := context.Cause(ctx); err != nil {
		return Verdict{}, err
	}

	var verdict Verdict
	if returned {
		of := t.scenario.oracle
		if of == nil {
			of = allArrives
		}
		verdict = judge(t.client.told, t.server.told, stuck, of)
	} else {
		verdict = Verdict{Class: Deadlock, Detail: stuck}
	}
	if verdict.Class != OK && t.knobs != "" {
		verdict.Detail = t.knobs + ": " + verdict.Detail
	}
	return verdict, nil
}

func (t *trial) dial(ctx context.Context) (client, server net.Conn, err error) {
	if t.scenario.dial != nil {
		return t.scenario.dial(ctx, t)
	}
	return t.network.Dial(t.seed)
}

// notHere is why a trial cannot be played on this machine.
type notHere string

func (reason notHere) Error() string { return string(reason) }

// watch waits for both scripts. If nothing moves any more it says who waits where, and ends them by closing the
// transports beneath them. returned is false if even that did not free them.
func (t *trial) watch(ctx context.Context) (stuck string, returned bool) {
	tick := time.NewTicker(t.network.StallAfter / stillTicks)
	defer tick.Stop()
	last, still := t.moves(), 0
	for stuck == "" {
		select {
		case <-t.client.done:
			select {
			case <-t.server.done:
				return "", true
			case <-tick.C:
			case <-ctx.Done():
			}
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		runtime.Gosched()
		now := t.moves()
		if now != last {
			last, still = now, 0
			continue
		}
		still++
		if still >= stillTicks*lockPatience || still >= stillTicks && t.blocked() {
			stuck = t.client.describe() + ", " + t.server.describe()
		}
	}

	close(t.stopped)
	t.client.transport.Close()
	t.server.transport.Close()
	abandon := time.NewTimer(abandonAfter)
	defer abandon.Stop()
	for _, s := range []*side{t.client, t.server} {
		select {
		case <-s.done:
		case <-abandon.C:
			return fmt.Sprintf("%s; the %s had not returned %v after its transport was closed", stuck, s.name, abandonAfter), false
		}
	}
	return stuck, true
}

// moves grows with whatever happens on either transport.
func (t *trial) moves() int64 {
	return t.client.transport.watched().moves.Load() + t.server.transport.watched().moves.Load()
}

// blocked reports whether the sides that have not ended all wait in calls of their transports.
func (t *trial) blocked() bool {
	ended := false
	for _, s := range []*side{t.client, t.server} {
		select {
		case <-s.done:
			ended = true
			continue
		default:
		}
		if s.transport.watched().where() == "" {
			return false
		}
		if programOf(s) != nil {
			return false // nobody knows what it does
		}
		if waits, known := s.transport.waits(); known && !waits {
			return false
		}
	}
	if _, known := t.client.transport.waits(); !known {
		return true
	}
	// On a pipe, a call whose peer has closed is about to return, and so are a Write and a Read that have met.
	client, server := t.client.transport.watched(), t.server.transport.watched()
	meet := client.writing.Load() > 0 && server.reading.Load() > 0 || server.writing.Load() > 0 && client.reading.Load() > 0
	return !ended && !meet
}

// random returns a generator for what the trial's setup chooses.
func (t *trial) random() *rand.Rand {
	return rand.New(rand.NewChaCha8(streamSeed(t.seed, "setup")))
}

// streamSeed derives independent streams from one seed.
func streamSeed(seed uint64, use string) [32]byte {
	return sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, seed), use...))
}
