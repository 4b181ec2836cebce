package torture

import (
	"math/rand/v2"
	"runtime"
)

// A granted is a program with all that decides how it is played.
type granted struct {
	program program
	wire    wireOptions
	seed    uint64 // of the schedule
}

// streams make the two ends of a run.
type streams struct {
	make [2]func(conn *grantedConn, peer *playLog) Conn

	// coroutines says that neither end has a goroutine of its own.
	coroutines bool

	// readsAhead says that an end takes more from its transport than the application has asked for, which then holds as
	// much more.
	readsAhead bool

	tape *tape // nil if nothing is taken down
}

// play runs the program once.
func (s streams) play(g granted, p policy) *fate {
	schedule := &schedule{wire: newWire(g.wire), policy: p, tape: s.tape}
	var players [2]*player
	for side := range players {
		conn := &grantedConn{schedule: schedule, side: side}
		players[side] = &player{side: side, ops: g.program[side], transport: conn}
	}
	for side, player := range players {
		peer := players[1-side]
		player.make = func(conn *grantedConn) Conn { return s.make[side](conn, &peer.log) }
		if s.coroutines {
			schedule.actors[side] = newCoroutine(player.transport, player.play)
		} else {
			schedule.actors[side] = newGoroutine(player.transport, player.play)
		}
	}
	stuck, err := schedule.run()
	o := &fate{stuck: stuck}
	if err != nil {
		o.hidden = err.Error()
		stacks := make([]byte, 1<<20)
		o.stacks = string(stacks[:runtime.Stack(stacks, true)])
		schedule.stopped.Store(true)
	}
	returned := true
	for _, a := range schedule.actors {
		returned = a.abandon() && returned
	}
	if returned { // else somebody may still be writing there
		for side, player := range players {
			o.sides[side] = player.log
		}
	}
	return o
}

var plainStreams = streams{coroutines: true, make: [2]func(*grantedConn, *playLog) Conn{
	func(conn *grantedConn, peer *playLog) Conn { return plainStream{conn, peer} },
	func(conn *grantedConn, peer *playLog) Conn { return plainStream{conn, peer} },
}}

// framedStreams are as the ends of a run of TLS in what they do with the transport at a CloseWrite. Their records are
// large or small, by the seed of the wire.
func framedStreams(tls *fate) streams {
	s := streams{coroutines: true, readsAhead: true}
	for side := range s.make {
		s.make[side] = func(conn *grantedConn, _ *playLog) Conn {
			largest := maxPlaintext
			if conn.schedule.wire.seed%2 == 1 {
				largest = smallFrame
			}
			return &framedStream{grantedConn: conn, finless: tls.sides[side].finless, largest: largest}
		}
	}
	return s
}

const (
	// ticketOverhead is more than what a server's first write takes along: a session ticket without certificates.
	ticketOverhead = 512

	// A close_notify of TLS 1.3 on the wire.
	endOverhead = recordOverhead + endContent

	// quickRuns is how many runs of a model tell whether it has one outcome. Before anything is called a failure there
	// are thoroughRuns.
	quickRuns    = 12
	thoroughRuns = 1000
)

// overhead is how many bytes TLS adds to the fuller of the two directions.
func (p program) overhead() int {
	most := 0
	for side := range p {
		bytes, calls := p.written(side)
		n := (calls+bytes/smallFrame)*recordOverhead + endOverhead
		if side == serverSide {
			n += ticketOverhead
		}
		most = max(most, n)
	}
	return most
}

// models plays the program over a model, a number of times. The first runs are the same for every program: each side
// first, and by chance; with the buffers of the wire, and with smaller ones. The others are chosen by seed.
func (s streams) models(g granted, runs int) []*fate {
	var fates []*fate
	random := rand.New(rand.NewPCG(g.seed, 1))
	overhead := g.program.overhead()
	some := func(chosen bool, n int) int {
		if !chosen {
			return 0
		}
		return n
	}
	for i := range runs {
		g := g
		g.wire.seed = random.Uint64()
		first := i % 3
		cutSend, cutReceive := some(i/3%2 == 1, overhead), some(i/6%2 == 1, overhead)
		shorter := i%2 == 1
		if i >= quickRuns {
			first = random.IntN(3)
			cutSend = some(random.IntN(2) == 0, random.IntN(overhead+1))
			cutReceive = some(random.IntN(2) == 0, random.IntN(overhead+1))
			shorter = random.IntN(2) == 0
			if s.readsAhead && random.IntN(4) == 0 {
				cutReceive = -random.IntN(maxPlaintext)
			}
		}
		g.wire.sendBuffer = max(0, g.wire.sendBuffer-cutSend)
		g.wire.receiveBuffer = max(0, g.wire.receiveBuffer-cutReceive)
		if shorter { // stacks differ in how much they read at once
			g.wire.maxSegment = 1 + random.IntN(maxPlaintext)
		}
		g.wire = g.wire.brisk(g.program)
		var p policy = randomPolicy{random}
		if first < 2 {
			p = fixedPolicy(first)
		}
		fates = append(fates, s.play(g, p))
	}
	return fates
}

// Why a program is undetermined.
const (
	severalFates = "plain TCP has several outcomes"
	limitedFate  = "limit: a stream of records that has an end of its own ends otherwise than TCP here"
)

// judge says what a run of TLS came to.
func (g granted) judge(tls *fate, lenient [2]bool) Verdict {
	v := tls.absolute(g.program, lenient)
	if v.Class != OK {
		return g.explain(v, tls, nil)
	}
	plain := plainStreams.models(g, quickRuns)
	if !single(plain) {
		return Verdict{Class: Undetermined, Detail: severalFates}
	}
	if tls.same(plain[0]) {
		return Verdict{}
	}
	framed := framedStreams(tls).models(g, quickRuns)
	if verdict := tls.against(g.program, plain[0], framed); verdict.Class <= Undetermined {
		return verdict
	}
	// It looks like a failure. Is there a rare schedule in which TCP does the same?
	plain = plainStreams.models(g, thoroughRuns)
	if !single(plain) {
		return Verdict{Class: Undetermined, Detail: severalFates}
	}
	return g.explain(tls.against(g.program, plain[0], framedStreams(tls).models(g, thoroughRuns)), tls, plain[0])
}

// against compares a run with the models.
func (o *fate) against(p program, plain *fate, framed []*fate) Verdict {
	limited := false
	for _, f := range framed {
		limited = limited || !f.same(plain)
	}
	if plain.well() && !limited {
		return o.different(p, plain)
	}
	if v := o.worse(p, append(framed, plain)); v.Class != OK {
		return v
	}
	if plain.well() {
		return Verdict{Class: Undetermined, Detail: limitedFate}
	}
	return Verdict{}
}

func single(fates []*fate) bool {
	for _, o := range fates[1:] {
		if !o.same(fates[0]) {
			return false
		}
	}
	return true
}

// explain puts both runs beside the verdict.
func (g granted) explain(v Verdict, tls, plain *fate) Verdict {
	if v.Class <= Undetermined {
		return v
	}
	v.Detail = g.program.String() + ": " + v.Detail + "; TLS: " + tls.String()
	if plain != nil {
		v.Detail += "; plain TCP: " + plain.String()
	}
	return v
}
