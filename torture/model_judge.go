package torture

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A fate is what both sides of a run were told.
type fate struct {
	sides [2]playLog

	// hidden says who waits outside of the transport, if somebody does.
	hidden string
	stuck  string // where both sides stood in a deadlock
	stacks string
}

// The rule. A program's plain outcome is that of all runs over TCP alone, under several schedules and with buffers that
// are smaller by what TLS adds. If they differ, the program is undetermined. Else:
//
//   - Where plain TCP ends well, TLS ends the same.
//   - Elsewhere, and where the framed model ends otherwise than plain TCP, no side may be worse off than in the
//     worst of the models' runs: blocked or told of a failure where it was neither in any, or with fewer bytes.
//
// Always, whatever TCP would do: no byte is wrong, an end of the stream is one that the peer has made, with all bytes
// before it; and Close keeps its bound.

// closeLimit is more than the documented bound of a Close: CloseTimeout, DrainTimeout and half a second.
const closeLimit = 8 * time.Second

// same reports whether two runs ended the same: each op with the same result, and the same bytes.
func (o *fate) same(other *fate) bool {
	for side := range o.sides {
		a, b := &o.sides[side], &other.sides[side]
		if a.delivered != b.delivered || !slices.EqualFunc(a.ops, b.ops, func(x, y opResult) bool {
			return x.kind == y.kind && (x.n == y.n || x.kind == failed || x.kind == blocked)
		}) {
			return false
		}
	}
	return true
}

// well reports whether nobody was blocked or told of a failure, and every byte arrived.
func (o *fate) well() bool {
	for side := range o.sides {
		if o.sides[side].ill() || o.sides[side].written != o.sides[1-side].delivered {
			return false
		}
	}
	return true
}

// ill reports whether the side was blocked or told of a failure.
func (l *playLog) ill() bool { return l.has(failed) || l.has(blocked) }

func (l *playLog) has(kind opOutcome) bool {
	return l.handshake.kind == kind || slices.ContainsFunc(l.ops, func(r opResult) bool { return r.kind == kind })
}

// absolute is the part of the rule that holds whatever TCP would do. lenient is for a side that takes a bare FIN for the
// end of the stream, as crypto/tls does.
func (o *fate) absolute(p program, lenient [2]bool) Verdict {
	for side := range o.sides {
		if p := o.sides[side].panicked; p != nil {
			return Verdict{Class: WrongError, Detail: fmt.Sprintf("the %s panicked: %q", sideNames[side], fmt.Sprint(p.value)), Stacks: string(p.stack)}
		}
	}
	for side := range o.sides {
		l, peer := &o.sides[side], &o.sides[1-side]
		name := sideNames[side]
		switch {
		case l.wrong != OK:
			return Verdict{Class: l.wrong, Detail: fmt.Sprintf("the %s read a wrong byte at offset %d", name, l.delivered)}
		case o.hidden != "":
			return Verdict{Class: Deadlock, Detail: o.hidden, Stacks: o.stacks}
		case l.handshake.kind == blocked:
			return Verdict{Class: Deadlock, Detail: "in the handshake, " + o.stuck}
		case l.handshake.kind == failed:
			return Verdict{Class: WrongError, Detail: fmt.Sprintf("the %s's handshake failed: %v", name, l.handshake.err)}
		case l.has(sawEnd) && !peer.finished && !(peer.cut && lenient[side]):
			return Verdict{Class: SilentLoss, Detail: fmt.Sprintf("the %s was told of an end of the stream that the %s has not made", name, sideNames[1-side])}
		case l.has(sawEnd) && l.delivered < peer.written:
			return Verdict{
				Class:     SilentLoss,
				LostBytes: int64(peer.written - l.delivered),
				Detail:    fmt.Sprintf("the %s was told of the end of the stream after %d of %d bytes", name, l.delivered, peer.written),
			}
		case l.closeTook > closeLimit:
			return Verdict{Class: HungClose, Detail: fmt.Sprintf("the %s's Close took %v", name, l.closeTook)}
		case l.aftermath.kind == blocked || p.blockedIn(side, l) == opClose:
			return Verdict{Class: HungClose, Detail: o.stuck}
		}
	}
	return Verdict{}
}

// blockedIn returns the kind of op in which a side was blocked for ever, if it was.
func (p program) blockedIn(side int, l *playLog) opKind {
	if n := len(l.ops); n > 0 && l.ops[n-1].kind == blocked {
		return p[side][n-1].kind
	}
	return ""
}

// worse says how a run was worse for somebody than all of the models' runs. A model that lost bytes may have cut its
// records at other places than TLS, so TLS may lose one more.
func (o *fate) worse(p program, models []*fate) Verdict {
	for side := range o.sides {
		l, peer := &o.sides[side], &o.sides[1-side]
		var couldBlock, couldFail bool
		least := math.MaxInt
		for _, m := range models {
			arrived := m.sides[side].delivered
			if arrived < m.sides[1-side].written {
				arrived -= p.largestRecord(1 - side)
			}
			least = min(least, arrived)
			couldBlock = couldBlock || m.sides[side].has(blocked)
			couldFail = couldFail || m.sides[side].ill()
		}
		switch {
		case l.has(blocked) && !couldBlock:
			return Verdict{Class: Deadlock, Detail: o.stuck}
		case l.delivered < least:
			class := SilentLoss
			if peer.ill() {
				class = Lost
			}
			return Verdict{
				Class:     class,
				LostBytes: int64(peer.written - l.delivered),
				Detail:    fmt.Sprintf("the %s read %d bytes, and over plain TCP %d at least", sideNames[side], l.delivered, least),
			}
		case l.has(failed) && !couldFail && !o.closeOnly(side):
			return Verdict{Class: WrongError, Detail: fmt.Sprintf("the %s was told of a failure", sideNames[side])}
		}
	}
	return Verdict{}
}

// largestRecord is how many bytes a record of the side has at most.
func (p program) largestRecord(side int) int {
	largest := 0
	for _, o := range p[side] {
		if o.kind == opWrite {
			largest = max(largest, min(o.n, maxPlaintext))
		}
	}
	return largest
}

// closeOnly reports whether the side's only failure is that of its Close: close_notify was not sent. TCP's close has
// nothing to send, and so never fails.
func (o *fate) closeOnly(side int) bool {
	ops := o.sides[side].ops
	return len(ops) > 0 && ops[len(ops)-1].kind == failed && !o.sides[side].aftermathed()
}

// aftermathed reports whether the side closed because of a failure.
func (l *playLog) aftermathed() bool { return l.aftermath.kind != notReached }

// different is the verdict of a run that ended otherwise than plain TCP, which ended well.
func (o *fate) different(p program, plain *fate) Verdict {
	if v := o.worse(p, []*fate{plain}); v.Class != OK {
		return v
	}
	return Verdict{Class: WrongError, Detail: "ended otherwise than plain TCP"}
}

// String tells the fate in one line.
func (o *fate) String() string {
	return fmt.Sprintf("client[%v] server[%v]", &o.sides[clientSide], &o.sides[serverSide])
}

// String tells what each op came to.
func (l *playLog) String() string {
	var words []string
	if l.handshake.kind != succeeded {
		words = append(words, "handshake "+l.handshake.String())
	}
	for _, r := range l.ops {
		words = append(words, r.String())
	}
	if l.aftermathed() {
		words = append(words, "then close "+l.aftermath.String())
	}
	return fmt.Sprintf("%s; wrote %d, read %d", strings.Join(words, ", "), l.written, l.delivered)
}

// events are what a transcript says of the end.
func (o *fate) events() []Event {
	var lost, told []Event
	for side := range o.sides {
		l, peer := &o.sides[side], &o.sides[1-side]
		if n := l.written - peer.delivered; n > 0 && o.stuck == "" {
			lost = append(lost, Event{Side: sideNames[side], Kind: EventLost, Bytes: int64(n),
				Text: fmt.Sprintf("the %s read %d of %d bytes", sideNames[1-side], peer.delivered, l.written)})
		}
		told = append(told, Event{Side: sideNames[side], Kind: EventTold, Text: l.String()})
	}
	return append(lost, told...)
}

func (r opResult) String() string {
	text := cmp.Or(string(r.kind), "not reached")
	if r.n > 0 {
		text = fmt.Sprintf("%d %s", r.n, text)
	}
	if r.err != nil {
		text += fmt.Sprintf(" %q", stepError("", r.err).Error()[2:])
	}
	return text
}
