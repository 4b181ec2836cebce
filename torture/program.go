package torture

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A program is what the two sides of a connection do, in words that mean the same over TCP and over TLS. Its text is one
// shell word, such as client=w100,r5,fin,end;server=end,w7,close.
type program [2][]op

// The sides of a program.
const (
	clientSide = 0
	serverSide = 1
)

// An op is one call of an application, or a few.
type op struct {
	kind opKind
	n    int // bytes, of opWrite and opRead
}

// An opKind is what an op does. Names are those of the text.
type opKind string

const (
	opWrite opKind = "w"     // one Write of n bytes
	opRead  opKind = "r"     // Reads until n bytes have come, or the end
	opEnd   opKind = "end"   // Reads until the end of the stream
	opFin   opKind = "fin"   // CloseWrite
	opClose opKind = "close" // Close
	opWait  opKind = "wait"  // nothing, until the peer cannot go on without this side

	// The last two end a process without a word of its TLS: the transport beneath is closed, or reset.
	opDie   opKind = "die"
	opReset opKind = "rst"
)

// counts reports whether a number of bytes belongs to the op.
func (k opKind) counts() bool { return k == opWrite || k == opRead }

// last reports whether nothing can follow the op.
func (k opKind) last() bool { return k == opClose || k == opDie || k == opReset }

func (o op) String() string {
	if o.kind.counts() {
		return string(o.kind) + strconv.Itoa(o.n)
	}
	return string(o.kind)
}

// String returns the text that parseProgram takes.
func (p program) String() string {
	var b strings.Builder
	for side, ops := range p {
		if side > 0 {
			b.WriteByte(';')
		}
		b.WriteString(sideNames[side] + "=")
		for i, o := range ops {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(o.String())
		}
	}
	return b.String()
}

// The limits of a program that is given as text.
const (
	maxOps     = 64
	maxOpBytes = 1 << 20
)

func parseProgram(text string) (program, error) {
	var p program
	halves := strings.Split(text, ";")
	if len(halves) != len(p) {
		return program{}, fmt.Errorf("torture: program %q: want client=…;server=…", text)
	}
	for side, half := range halves {
		list, ok := strings.CutPrefix(half, sideNames[side]+"=")
		if !ok {
			return program{}, fmt.Errorf("torture: program %q: want %s=… where it says %q", text, sideNames[side], half)
		}
		if list == "" {
			continue
		}
		for word := range strings.SplitSeq(list, ",") {
			o, err := parseOp(word)
			if err != nil {
				return program{}, fmt.Errorf("torture: program of the %s: %w", sideNames[side], err)
			}
			if n := len(p[side]); n == maxOps || n > 0 && p[side][n-1].kind.last() {
				return program{}, fmt.Errorf("torture: program of the %s: nothing can follow before %q", sideNames[side], word)
			}
			p[side] = append(p[side], o)
		}
	}
	return p, nil
}

var errNoOp = errors.New("not an operation (w100, r100, end, fin, close, wait, die, rst)")

func parseOp(word string) (op, error) {
	switch o := (op{kind: opKind(word)}); o.kind {
	case opEnd, opFin, opClose, opWait, opDie, opReset:
		return o, nil
	}
	if word == "" {
		return op{}, fmt.Errorf("%q: %w", word, errNoOp)
	}
	o := op{kind: opKind(word[:1])}
	n, err := strconv.Atoi(word[1:])
	if !o.kind.counts() || err != nil || n < 0 || n > maxOpBytes {
		return op{}, fmt.Errorf("%q: %w", word, errNoOp)
	}
	o.n = n
	return o, nil
}

// shrink returns programs that are a little smaller, the smallest first.
func (p program) shrink() []program {
	var smaller []program
	edit := func(side int, ops []op) {
		q := p
		q[side] = ops
		smaller = append(smaller, q)
	}
	for side, ops := range p {
		if len(ops) > 1 {
			edit(side, slices.Clone(ops[:len(ops)/2]))
		}
	}
	for side, ops := range p {
		for i := range ops {
			edit(side, slices.Delete(slices.Clone(ops), i, i+1))
		}
	}
	for side, ops := range p {
		for i, o := range ops {
			if !o.kind.counts() {
				continue
			}
			for _, n := range []int{1, o.n / 2, o.n - 1} {
				if n < o.n && n > 0 {
					ops := slices.Clone(ops)
					ops[i].n = n
					edit(side, ops)
				}
			}
		}
	}
	return smaller
}

// written returns how many bytes a side writes, and in how many calls.
func (p program) written(side int) (bytes, calls int) {
	for _, o := range p[side] {
		if o.kind == opWrite {
			bytes += o.n
			calls++
		}
	}
	return bytes, calls
}
