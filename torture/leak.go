package torture

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// leakGrace is how long a goroutine may outlive its trial. What ends a stack's goroutines has happened by then, and
	// the scheduler alone decides when they are gone.
	leakGrace = 2 * time.Second

	// leakPoll is the first pause between two looks. Each is twice as long as the one before.
	leakPoll = time.Millisecond
)

// watches counts the leak watches of this process, whose trials may run at the same time.
var watches atomic.Uint64

// A leakWatch finds goroutines that trials have left behind. It does not see what a timer started: nothing inherits
// labels from a timer.
type leakWatch struct{ prefix string }

func newLeakWatch() leakWatch {
	return leakWatch{fmt.Sprintf("%d ", watches.Add(1))}
}

// label is what the goroutines of a case's trial carry.
func (w leakWatch) label(c Case) string { return w.prefix + c.String() }

// A leak is what one trial left behind.
type leak struct {
	label   string
	c       Case
	verdict Verdict
}

// leaks waits until all goroutines of the watch's trials have ended, or leakGrace is over, and returns what is left.
func (w leakWatch) leaks(ctx context.Context) []leak {
	left := w.left()
	for waited, pause := time.Duration(0), leakPoll; len(left) > 0 && waited < leakGrace; pause *= 2 {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		waited += pause
		left = w.left()
	}
	return left
}

func (w leakWatch) left() []leak {
	groups := goroutines()
	var left []leak
	counts := make(map[string]int)
	for _, g := range groups {
		id, ok := strings.CutPrefix(g.trial, w.prefix)
		if !ok {
			continue
		}
		if counts[g.trial] += g.count; counts[g.trial] > g.count {
			continue
		}
		c, err := ParseCase(id)
		if err != nil {
			continue
		}
		left = append(left, leak{label: g.trial, c: c})
	}
	for i, l := range left {
		left[i].verdict = Verdict{
			Class:  LeakedGoroutine,
			Detail: fmt.Sprintf("%s still running %v after the trial", plural(counts[l.label], "goroutine"), leakGrace),
			Stacks: stacksOf(l.label, groups),
		}
	}
	return left
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
