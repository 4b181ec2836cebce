package torture

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// The product's promise as one property: TLS over a transport ends as the same program over plain TCP does.

func randomOps() Scenario {
	return Scenario{
		Name:         "random-ops",
		About:        "both sides play a small program, first all of the smallest and then random ones, and the run must end as it does over plain TCP",
		Threat:       DataLoss,
		On:           []On{{Network: grantedName}},
		TrialsPerRun: 64,
		random:       true,
		shrink:       shrinkProgram,
		play:         playRandomOps,
	}
}

const grantedName = "granted"

// grantedNetwork stands for the wires of random-ops, whose buffers the seed chooses. Other scenarios get a pipe from it.
func grantedNetwork() Network {
	side := membio.PipeSide{SendBuffer: enumeratedBuffer, ReceiveBuffer: enumeratedBuffer}
	n := pipe(Network{
		Name:  grantedName,
		About: "in memory; one call of the transport at a time is granted, by seed, and time is virtual",
	}, membio.PipeOptions{A: side, B: side})
	n.resized = nil // a program's own wire is what counts
	return n
}

const (
	// enumeratedBuffer is the size of the buffers of the small programs. What is written at once is either a byte or more
	// than both hold.
	enumeratedBuffer = 2 << 10
	enumeratedWrite  = 5000
)

// bufferSizes are those of random programs.
var bufferSizes = []int{0, 1, 64, 300, 1000, 2000, 5000, 20_000}

var smallPrograms = sync.OnceValue(func() *enumeration { return newEnumeration(enumeratedWrite) })

// newGranted chooses the program of a trial, and the wire. All small programs of which both sides close come first. Then
// those with other endings alternate with random ones.
func newGranted(seed uint64, index int) granted {
	random := rand.New(rand.NewChaCha8(streamSeed(seed, "program")))
	g := granted{
		wire: wireOptions{
			sendBuffer:    enumeratedBuffer,
			receiveBuffer: enumeratedBuffer,
			rstDiscards:   random.IntN(2) == 0,
			seed:          random.Uint64(),
		},
		seed: random.Uint64(),
	}
	if random.IntN(2) == 0 {
		g.wire.maxSegment = 1 + random.IntN(1500)
	}
	small := smallPrograms()
	closing := len(small.closing) * len(small.closing)
	switch at := closing + (index-closing)/2; {
	case index < closing:
		g.program = small.program(index)
	case (index-closing)%2 == 0 && at < small.len():
		g.program = small.program(at)
	default:
		g.wire.sendBuffer = bufferSizes[random.IntN(len(bufferSizes))]
		g.wire.receiveBuffer = bufferSizes[random.IntN(len(bufferSizes))]
		generator := generator{random: random, buffer: max(64, g.wire.sendBuffer+g.wire.receiveBuffer)}
		g.program = generator.program()
	}
	g.wire = g.wire.brisk(g.program)
	return g
}

// brisk returns a wire over which the program does not take thousands of reads.
func (o wireOptions) brisk(p program) wireOptions {
	most := 0
	for side := range p {
		bytes, _ := p.written(side)
		most = max(most, bytes/maxReads)
	}
	if o.maxSegment > 0 {
		o.maxSegment = max(o.maxSegment, 2*most)
	}
	if o.receiveBuffer > 0 { // without one, a read takes from the send buffer
		o.receiveBuffer = max(o.receiveBuffer, most)
	}
	return o
}

// maxReads is about how many reads a side makes at most.
const maxReads = 100

func (g granted) String() string {
	text := fmt.Sprintf("buffers %d+%d", g.wire.sendBuffer, g.wire.receiveBuffer)
	if g.wire.maxSegment > 0 {
		text += fmt.Sprintf(", segments of at most %d", g.wire.maxSegment)
	}
	if g.wire.rstDiscards {
		text += ", strict"
	}
	return text
}

// shrinkProgram is program.shrink for programs as text.
func shrinkProgram(text string) []string {
	p, err := parseProgram(text)
	if err != nil {
		return nil
	}
	var smaller []string
	for _, q := range p.shrink() {
		smaller = append(smaller, q.String())
	}
	return smaller
}

func playRandomOps(_ context.Context, t *trial) (Verdict, error) {
	g := newGranted(t.seed, t.index)
	if t.program != "" {
		p, err := parseProgram(t.program)
		if err != nil {
			return Verdict{}, err
		}
		g.program = p
	}
	t.program = g.program.String()
	t.knobs = g.String()
	return t.worded(t.playGranted(g)), nil
}

// noon is the time of day of all runs: nothing may depend on it.
var noon = time.Date(2024, time.June, 1, 12, 0, 0, 0, time.UTC)

// playGranted plays a program over TLS and judges it.
func (t *trial) playGranted(g granted) Verdict {
	for _, config := range []*tls.Config{t.serverConfig, t.clientConfig} {
		config.Time = func() time.Time { return noon }
		config.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	// Half of the clients are not of the stack under test: as most programs, they read no further than they need to.
	foreign := t.seed%2 == 1
	var lenient [2]bool
	over := streams{coroutines: t.stack.single && !foreign, tape: t.tape}
	over.make[serverSide] = func(conn *grantedConn, _ *playLog) Conn {
		made := t.stack.Server(newMeteredGranted(conn), t.serverConfig)
		_, lenient[serverSide] = made.(*tls.Conn)
		return made
	}
	over.make[clientSide] = func(conn *grantedConn, _ *playLog) Conn {
		if foreign {
			lenient[clientSide] = true
			return tls.Client(&exactReader{Conn: newMeteredGranted(conn)}, t.clientConfig)
		}
		made := t.stack.Client(newMeteredGranted(conn), t.clientConfig)
		_, lenient[clientSide] = made.(*tls.Conn)
		return made
	}
	end := over.play(g, randomPolicy{rand.New(rand.NewPCG(g.seed, 0))})
	t.ending = end.events()
	return g.judge(end, lenient)
}
