package torture

import "slices"

// A row is all trials of one scenario on one network with one stack.
type row struct {
	scenario *Scenario
	network  *Network
	stack    *Stack
	role     Role
	mustFail bool
	passes   bool // a control is right to pass here
	trials   int  // in a round
	stride   int  // of the trials every stride-th is played

	counts map[Class]int
	lost   []int64 // bytes, of the first maxRemembered trials that lost any

	first   *Failure // of the gravest class so far; nil if none failed
	firstAt place

	exhibit exhibit

	reason string // of one of the trials that did not fail, and were not simply OK

	// graver has the labels of the trials whose verdict a leak would not change, maxRemembered of them at most.
	graver map[string]bool
}

// maxRemembered bounds what a row keeps of its trials in a soak.
const maxRemembered = 1 << 14

// A place is where in a plan a trial stands.
type place struct{ round, index int }

func (p place) before(q place) bool {
	return p.round < q.round || p.round == q.round && p.index < q.index
}

// add counts a trial. Trials come in any order: the row is the same in the end.
func (r *row) add(at place, label string, c Case, v Verdict) {
	if r.counts == nil {
		r.counts = make(map[Class]int)
		r.graver = make(map[string]bool)
	}
	r.counts[v.Class]++
	if v.LostBytes > 0 && len(r.lost) < maxRemembered {
		r.lost = append(r.lost, v.LostBytes)
	}
	if v.Class >= LeakedGoroutine && len(r.graver) < maxRemembered {
		r.graver[label] = true
	}
	r.note(at, c, v)
}

// addLeak changes the verdict of a trial that was added, if it has left goroutines behind and did nothing worse.
func (r *row) addLeak(l leak) {
	if r.graver[l.label] {
		return
	}
	if r.counts[OK] > 0 {
		r.counts[OK]--
	}
	r.counts[LeakedGoroutine]++
	r.note(place{index: l.c.Trial}, l.c, l.verdict)
}

// note keeps the first of the gravest failures.
func (r *row) note(at place, c Case, v Verdict) {
	if !v.Class.failed() && v.Detail != "" && (r.reason == "" || v.Detail < r.reason) {
		r.reason = v.Detail
	}
	if !v.Class.failed() || r.first != nil && (v.Class < r.first.Class || v.Class == r.first.Class && !at.before(r.firstAt)) {
		return
	}
	r.first, r.firstAt = &Failure{Trial: at.index, Case: c, Verdict: v}, at
}

// report sums up a row whose trials have all been played.
func (r *row) report() Row {
	sum := Row{
		Scenario:         r.scenario.Name,
		Network:          r.network.Name,
		Stack:            r.stack.Name,
		Role:             r.role,
		Threat:           r.scenario.Threat,
		MustFail:         r.mustFail,
		ControlPasses:    r.passes,
		LostRuns:         r.counts[Lost] + r.counts[SilentLoss],
		SilentLossRuns:   r.counts[SilentLoss],
		CorruptedRuns:    r.counts[Corrupted],
		DeadlockedRuns:   r.counts[Deadlock],
		WrongErrorRuns:   r.counts[WrongError],
		UndeterminedRuns: r.counts[Undetermined],
		Counts:           make(map[Class]int),
		Exhibit:          r.exhibit.kept,
		FirstFailure:     r.first,
		Reason:           r.reason,
	}
	for class, n := range r.counts {
		if n > 0 {
			sum.Counts[class] = n
			sum.Trials += n
		}
	}
	switch {
	case r.first != nil:
		sum.Verdict = r.first.Class
	case r.counts[Undetermined] == sum.Trials:
		sum.Verdict = Undetermined
	case r.counts[Skipped] == sum.Trials:
		sum.Verdict = Skipped
	case r.counts[Limited] > 0:
		sum.Verdict = Limited
	}
	if len(r.lost) > 0 {
		slices.Sort(r.lost)
		sum.MedianLostBytes = r.lost[len(r.lost)/2]
	}
	sum.Blind = r.mustFail && !sum.Verdict.failed() && sum.Verdict != Skipped
	return sum
}
