package torture

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"time"
)

const (
	// reduceTries is how often a case is played at most to make it smaller.
	reduceTries = 60

	// reduceTime is the same limit in time, for all cases of a plan: a deadlock takes a second to be one. A case that
	// it cuts short is larger than need be, and fails all the same.
	reduceTime = 20 * time.Second

	// smallestBuffer is the first that is tried, in bytes. With less, a pipe behaves as one without buffers does, and that
	// is a network of its own.
	smallestBuffer = 128

	// sizeSteps is how many times the gap between a size that fails and one that does not is halved.
	sizeSteps = 6
)

// A reduction makes one case smaller as long as it fails in the same way.
type reduction struct {
	scenario *Scenario
	network  *Network
	stack    *Stack

	best    Case
	class   Class
	pattern string // of the detail
	tries   int    // left
}

// reduceCase returns a smaller case that fails as c does, or c itself if there is none. A case is smaller if its program,
// its size, the number of trials it is one of, or its buffers are.
func reduceCase(ctx context.Context, c Case, failure Verdict, scenario *Scenario, network *Network, stack *Stack) Case {
	r := &reduction{
		scenario: scenario, network: network, stack: stack,
		best: c, class: failure.Class, pattern: detailPattern(failure), tries: reduceTries,
	}
	r.reduceProgram(ctx)
	r.reduceSize(ctx)
	r.reduceTrials(ctx)
	r.reduceBuffers(ctx)
	return r.best
}

// reduce fills in the reduced case of the gravest rows. Nothing that it meets is an error: the cases stand as they are.
func (p *Plan) reduce(ctx context.Context, rows []*row) {
	failed := slices.DeleteFunc(slices.Clone(rows), func(r *row) bool { return r.role != UnderTest || r.first == nil || !r.first.Class.failed() })
	slices.SortStableFunc(failed, func(a, b *row) int { return cmp.Compare(b.first.Class, a.first.Class) })
	ctx, cancel := context.WithTimeout(ctx, reduceTime)
	defer cancel()
	for _, r := range failed[:min(len(failed), p.Reduce)] {
		if reduced := reduceCase(ctx, r.first.Case, r.first.Verdict, r.scenario, r.network, r.stack); reduced != r.first.Case {
			r.first.Reduced = &reduced
		}
	}
}

var number = regexp.MustCompile(`[0-9]+`)

// detailPattern is what the details of failures of the same kind have in common: who waits where. Of other classes
// nothing is demanded, for the wording of an error is often a matter of size.
func detailPattern(v Verdict) string {
	if v.Class != Deadlock && v.Class != HungClose {
		return ""
	}
	return number.ReplaceAllString(v.Detail, "N")
}

// try plays a candidate, and keeps it if it fails in the same way: twice, where a case may end in two ways.
func (r *reduction) try(ctx context.Context, c Case) bool {
	for range 2 {
		if r.tries == 0 || ctx.Err() != nil {
			return false
		}
		r.tries--
		played, repeatable, err := play(ctx, c, r.scenario, r.network, r.stack)
		if err != nil || played.Verdict.Class != r.class || detailPattern(played.Verdict) != r.pattern {
			return false
		}
		c = played.Case
		if repeatable {
			break
		}
	}
	r.best = c
	return true
}

func (r *reduction) reduceProgram(ctx context.Context) {
	if r.scenario.shrink == nil || r.best.Program == "" {
		return
	}
	for {
		smaller := slices.ContainsFunc(r.scenario.shrink(r.best.Program), func(program string) bool {
			c := r.best
			c.Program = program
			return r.try(ctx, c)
		})
		if !smaller {
			return
		}
	}
}

// reduceSize begins with the smallest sizes: a run that ends well costs least, and a stuck one most.
func (r *reduction) reduceSize(ctx context.Context) {
	with := func(size int64) bool {
		c := r.best
		c.Size = size
		return r.try(ctx, c)
	}
	var passes int64
	for size := int64(1); size < r.best.Size && !with(size); size *= 8 {
		passes = size
	}
	for range sizeSteps {
		middle := passes + (r.best.Size-passes)/2
		if middle == passes || middle == r.best.Size {
			return
		}
		if !with(middle) {
			passes = middle
		}
	}
}

// reduceTrials keeps to trials of the same parity, which a sweep may give a meaning.
func (r *reduction) reduceTrials(ctx context.Context) {
	whole := r.best
	for of := 1; of < whole.Of; of *= 2 {
		c := whole
		c.Of = of
		c.Trial = whole.Trial * of / whole.Of
		if of > 1 {
			c.Trial = c.Trial&^1 | whole.Trial&1
		}
		if r.try(ctx, c) {
			return
		}
	}
}

func (r *reduction) reduceBuffers(ctx context.Context) {
	if r.network.resized == nil {
		return
	}
	limit := cmp.Or(r.best.SendBuffer, r.network.sendBuffer)
	for buffer := smallestBuffer; buffer < limit; buffer *= 2 {
		c := r.best
		c.SendBuffer, c.ReceiveBuffer = buffer, buffer
		if r.try(ctx, c) {
			return
		}
	}
}
