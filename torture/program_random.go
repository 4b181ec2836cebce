package torture

import "math/rand/v2"

// Programs are tried in two parts: first all of the small ones, then random ones.

// smallOps is the alphabet of the small programs. One byte fits anywhere; largeWrite fits nowhere.
func smallOps(largeWrite int) []op {
	return []op{
		{kind: opWrite, n: 1},
		{kind: opWrite, n: largeWrite},
		{kind: opRead, n: 1},
		{kind: opEnd},
		{kind: opFin},
		{kind: opWait},
	}
}

// endings are how a small program's side may end; the last is to stay open.
var endings = [...]opKind{opClose, opDie, opReset, ""}

const (
	// smallLength is how many ops a side of a small program has before its ending.
	smallLength = 2

	// A side that closes is by far the most frequent in life. Others have their turn behind all programs that close.
	closingEndings = 1
)

// smallSides returns all sides of up to smallLength ops, the short ones first.
func smallSides(largeWrite int, endings []opKind) [][]op {
	alphabet := smallOps(largeWrite)
	bodies, last := [][]op{nil}, [][]op{nil}
	for range smallLength {
		var longer [][]op
		for _, body := range last {
			for _, o := range alphabet {
				if n := len(body); n > 0 && body[n-1].kind == o.kind && (o.kind == opFin || o.kind == opEnd || o.kind == opWait) {
					continue // says it twice
				}
				longer = append(longer, append(body[:len(body):len(body)], o))
			}
		}
		bodies = append(bodies, longer...)
		last = longer
	}
	var sides [][]op
	for _, ending := range endings {
		for _, body := range bodies {
			side := body[:len(body):len(body)]
			if ending != "" {
				side = append(side, op{kind: ending})
			}
			sides = append(sides, side)
		}
	}
	return sides
}

// An enumeration holds all small programs, in an order that goes through both sides alike: the first k² programs are
// those whose sides are among the first k.
type enumeration struct {
	closing [][]op
	all     [][]op
}

func newEnumeration(largeWrite int) *enumeration {
	return &enumeration{
		closing: smallSides(largeWrite, endings[:closingEndings]),
		all:     smallSides(largeWrite, endings[:]),
	}
}

func (e *enumeration) len() int { return len(e.closing)*len(e.closing) + len(e.all)*len(e.all) }

// program returns the one with that index. Programs of which both sides close come twice.
func (e *enumeration) program(index int) program {
	sides := e.closing
	if n := len(sides) * len(sides); index >= n {
		index -= n
		sides = e.all
	}
	// Shell k holds the pairs of which the greater index is k: (0,k) … (k-1,k), (k,0) … (k,k).
	k := 0
	for (k+1)*(k+1) <= index {
		k++
	}
	at := index - k*k
	if at < k {
		return program{sides[at], sides[k]}
	}
	return program{sides[k], sides[at-k]}
}

// A generator makes random programs for buffers of a size.
type generator struct {
	random *rand.Rand
	buffer int // bytes that one direction of the transport holds
}

const (
	maxRandomOps = 6

	// Bytes of a record beside its data (RFC 8446 5.2): header, inner type, AEAD tag.
	recordOverhead = 5 + 1 + 16
)

// program makes one. Most sides close, and half of the time what one reads has to do with what the other writes.
func (g *generator) program() program {
	var p program
	for side := range p {
		p[side] = g.ops(nil)
	}
	if g.random.IntN(2) == 0 {
		for side := range p {
			g.match(p[side], p[1-side])
		}
	}
	return p
}

func (g *generator) ops(ops []op) []op {
	finished, ended := false, false
	for range g.random.IntN(maxRandomOps + 1) {
		switch k := g.random.IntN(20); {
		case k < 7 && !finished:
			ops = append(ops, op{kind: opWrite, n: g.size()})
		case k < 12 && !ended:
			ops = append(ops, op{kind: opRead, n: g.size()})
		case k < 14 && !ended:
			ops = append(ops, op{kind: opEnd})
			ended = true
		case k < 16 && !finished:
			ops = append(ops, op{kind: opFin})
			finished = true
		case len(ops) == 0 || ops[len(ops)-1].kind != opWait:
			ops = append(ops, op{kind: opWait})
		}
	}
	switch k := g.random.IntN(20); {
	case k < 15:
		return append(ops, op{kind: opClose})
	case k < 17:
		return append(ops, op{kind: opDie})
	case k < 18:
		return append(ops, op{kind: opReset})
	}
	return ops
}

// size is small, or about what the buffers or a record hold.
func (g *generator) size() int {
	near := func(n int) int { return max(1, n+g.random.IntN(9)-4) }
	switch g.random.IntN(8) {
	case 0, 1, 2:
		return 1 + g.random.IntN(64)
	case 3:
		return near(g.buffer)
	case 4:
		return near(g.buffer / 2)
	case 5:
		return near(g.buffer - recordOverhead)
	case 6:
		if g.buffer >= maxPlaintext/16 { // or it would take a thousand steps
			return near(maxPlaintext)
		}
	}
	return 1 + g.random.IntN(4*g.buffer)
}

// match makes reads out of the writes of the peer, in their order.
func (g *generator) match(reader, writer []op) {
	var sizes []int
	for _, o := range writer {
		if o.kind == opWrite {
			sizes = append(sizes, o.n)
		}
	}
	for i := range reader {
		if reader[i].kind == opRead && len(sizes) > 0 {
			reader[i].n, sizes = sizes[0], sizes[1:]
		}
	}
}
