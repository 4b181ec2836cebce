package torture

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
)

// A trial is one run: a case with what its names stand for.
type trial struct {
	scenario *Scenario
	network  *Network
	stack    *Stack
	seed     uint64 // of this trial alone
	index    int    // of this trial in its row
	of       int    // trials in the row
	size     int64
	label    string // of its goroutines

	// program is what a scenario that plays programs is to play; if it is empty, the scenario makes one from the seed and
	// puts it here.
	program string

	// ending is what a scenario that plays by itself has to say of the end, for the transcript.
	ending []Event

	// The scenario's setup may change these.
	identity     *identity
	workshop     *workshop
	serverConfig *tls.Config
	clientConfig *tls.Config
	maxRead      int    // the most that one Read of a transport takes; no limit if zero
	knobs        string // what setup chose, for the report

	transports     []net.Conn // the client's and the server's, as the network made them
	client, server *side
	tape           *tape

	// stopped is closed when the run has to end, for whatever reason, before its transports are closed.
	stopped chan struct{}
}

// A result is what a trial gives.
type result struct {
	verdict        Verdict
	client, server told
	abandoned      bool // a side never returned
	repeatable     bool // nothing in it depended on time: the same case ends the same
}

// run plays the trial and judges it. Its error says that the trial could not be played.
func (t *trial) run(ctx context.Context) (result, error) {
	if most := t.network.MaxSizeBytes; most > 0 {
		t.size = min(t.size, most)
	}
	t.serverConfig, t.clientConfig = t.identity.configs()
	t.record()
	if t.scenario.setup != nil {
		t.scenario.setup(t)
	}
	if t.scenario.play != nil {
		var out result
		var err error
		labelled(t.label, "script", func() { out.verdict, err = t.scenario.play(ctx, t) })
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if reason, ok := errors.AsType[notHere](err); ok {
			out.verdict, err = Verdict{Class: Skipped, Detail: reason.Error()}, nil
		}
		return out, err
	}
	client, server, err := t.dial(ctx)
	if reason, ok := errors.AsType[notHere](err); ok {
		return result{verdict: Verdict{Class: Skipped, Detail: reason.Error()}}, nil
	}
	if err != nil {
		return result{}, err
	}
	t.transports = []net.Conn{client, server}
	up, down := streamSeed(t.seed, "up"), streamSeed(t.seed, "down")
	t.client = newSide("client", t, client, up, down)
	t.server = newSide("server", t, server, down, up)
	t.client.peer, t.server.peer = t.server, t.client
	t.client.transport.watched().maxRead = t.maxRead
	t.server.transport.watched().maxRead = t.maxRead
	t.stopped = make(chan struct{})
	t.tape.connect(t.client.transport, t.server.transport)

	go labelled(t.label, t.client.name, func() { t.client.play(t.scenario.client) })
	go labelled(t.label, t.server.name, func() { t.server.play(t.scenario.server) })
	end := t.watch(ctx)
	if err := context.Cause(ctx); err != nil {
		return result{}, err
	}

	if end.abandoned {
		return result{verdict: t.worded(Verdict{Class: end.class, Detail: end.detail, Stacks: end.stacks}), abandoned: true}, nil
	}
	for _, s := range []*side{t.client, t.server} {
		if reason, ok := errors.AsType[notHere](s.told.err); ok {
			return result{verdict: Verdict{Class: Skipped, Detail: reason.Error()}}, nil
		}
		if s.told.corrupted {
			// What a Write that was under way had sent is not counted in sent.
			s.told.wrongFrom = origin(s.inSeed, s.told.wrong, s.peer.told.sent+chunkBytes)
		}
	}
	of := t.scenario.oracle
	if of == nil {
		of = allArrives
	}
	_, repeatable := t.client.transport.waits()
	return result{
		verdict:    t.worded(judge(t.client.told, t.server.told, end, of)),
		client:     t.client.told,
		server:     t.server.told,
		repeatable: repeatable,
	}, nil
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

// worded puts what setup chose in front of the detail of a run that failed.
func (t *trial) worded(v Verdict) Verdict {
	if v.Class != OK && t.knobs != "" {
		v.Detail = t.knobs + ": " + v.Detail
	}
	return v
}

// random returns a generator for what the trial's setup chooses.
func (t *trial) random() *rand.Rand {
	return rand.New(rand.NewChaCha8(streamSeed(t.seed, "setup")))
}

// streamSeed derives independent streams from one seed.
func streamSeed(seed uint64, use string) [32]byte {
	return sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, seed), use...))
}
