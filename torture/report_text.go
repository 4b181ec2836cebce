package torture

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteTable writes one line for each scenario and network, with a column for each stack: the gravest verdict, and how
// many of the trials failed. Below it stand the reasons of what was skipped.
func (r *Report) WriteTable(w io.Writer) error {
	type line struct{ scenario, network string }
	var (
		stacks  []string
		lines   []line
		cells   = make(map[line]map[string]string)
		skipped []string
	)
	for i := range r.Rows {
		row := &r.Rows[i]
		if !slices.Contains(stacks, row.heading()) {
			stacks = append(stacks, row.heading())
		}
		at := line{row.Scenario, row.Network}
		if cells[at] == nil {
			lines = append(lines, at)
			cells[at] = make(map[string]string)
		}
		cells[at][row.heading()] = row.cell()
		if row.Verdict == Skipped && !slices.Contains(skipped, row.Reason) {
			skipped = append(skipped, row.Reason)
		}
	}

	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "SCENARIO\tNETWORK\t%s\n", strings.Join(stacks, "\t"))
	for _, at := range lines {
		fmt.Fprintf(table, "%s\t%s", at.scenario, at.network)
		for _, stack := range stacks {
			fmt.Fprintf(table, "\t%s", cmp.Or(cells[at][stack], "-"))
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, reason := range skipped {
		if _, err := fmt.Fprintln(w, "skipped:", reason); err != nil {
			return err
		}
	}
	return nil
}

// heading is the stack of the row, as a heading.
func (r *Row) heading() string {
	if r.Role == Control {
		return r.Stack + " (control)"
	}
	return r.Stack
}

func (r *Row) cell() string {
	if r.Verdict == Skipped {
		return r.Verdict.String()
	}
	verdict := r.Verdict.String()
	if r.Blind {
		verdict = "blind"
	}
	text := fmt.Sprintf("%s %d/%d", verdict, r.FailedRuns(), r.Trials)
	if note := r.note(); note != "" && !r.Blind && !r.Verdict.failed() {
		text += ", " + note
	}
	return text
}

// note is what there is to add to the verdict.
func (r *Row) note() string {
	switch {
	case r.Verdict == Skipped:
		return r.Reason
	case r.Blind:
		return "it had to fail"
	case r.Role == Control && r.Verdict.failed():
		return "as expected"
	case r.UndeterminedRuns > 0 && r.UndeterminedRuns < r.Trials:
		return fmt.Sprintf("%d undetermined", r.UndeterminedRuns)
	case r.Role == Control && !r.MustFail && !r.ControlPasses:
		return "too small to tell"
	}
	return ""
}

// Summary says in a few plain sentences what happened, for somebody who has not met the fault before.
func (r *Report) Summary() []string {
	var sentences []string
	var clean tally
	controlFailed := false
	for _, t := range r.tallies() {
		if t.failed == 0 {
			clean.add(t)
			continue
		}
		sentences = append(sentences, t.failures())
		controlFailed = controlFailed || t.role == Control
	}
	if len(clean.stacks) > 0 {
		sentences = append(sentences, clean.successes())
	}
	if controlFailed {
		sentences = append(sentences, "The cause: TLS 1.3 sends session tickets and answers to KeyUpdate that no application "+
			"asked for. A client that only writes leaves them unread, so its close resets the connection and what it had "+
			"queued is gone; and where buffers are small, each side waits for the other to read.")
	}
	blind, skipped := 0, 0
	for i := range r.Rows {
		if r.Rows[i].Blind {
			blind++
		}
		if r.Rows[i].Verdict == Skipped {
			skipped++
		}
	}
	if blind > 0 {
		sentences = append(sentences, fmt.Sprintf("Blind rows: %d. A stack that is known to fail there did not, so they prove nothing.", blind))
	}
	if r.UndeterminedRuns > 0 {
		sentences = append(sentences, fmt.Sprintf("Undetermined runs: %d. Their outcome over plain TCP depends on a buffer or on "+
			"the schedule, so nothing was judged there.", r.UndeterminedRuns))
	}
	if skipped > 0 {
		sentences = append(sentences, fmt.Sprintf("Skipped rows: %d. They need what this machine does not have.", skipped))
	}
	return sentences
}

// A tally sums up all rows of a stack, or of several that passed.
type tally struct {
	stacks []string
	role   Role
	failed int // runs that did not end well, in whatever way

	transfers, lost, silent int // in scenarios that threaten data loss
	exchanges, blocked      int // in scenarios that threaten a deadlock
}

// tallies returns one tally for each stack, in the order of the rows.
func (r *Report) tallies() []*tally {
	var all []*tally
	byStack := make(map[string]*tally)
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Verdict == Skipped {
			continue
		}
		t := byStack[row.Stack]
		if t == nil {
			name := row.Stack
			if name == Stdlib().Name {
				name = "stock crypto/tls (" + name + ")"
			}
			t = &tally{stacks: []string{name}, role: row.Role}
			byStack[row.Stack] = t
			all = append(all, t)
		}
		t.failed += row.FailedRuns()
		if row.Threat == DataLoss {
			t.transfers += row.Trials
			t.lost += row.LostRuns
			t.silent += row.SilentLossRuns
		} else {
			t.exchanges += row.Trials
			t.blocked += row.DeadlockedRuns
		}
	}
	return all
}

func (t *tally) add(other *tally) {
	t.stacks = append(t.stacks, other.stacks...)
	t.transfers += other.transfers
	t.exchanges += other.exchanges
}

func (t *tally) failures() string {
	var parts []string
	if t.lost > 0 {
		parts = append(parts, fmt.Sprintf("lost data in %d of %d transfers (in %d of them the sender was told that all went well)",
			t.lost, t.transfers, t.silent))
	}
	if t.blocked > 0 {
		parts = append(parts, fmt.Sprintf("blocked for ever in %d of %d runs over small buffers", t.blocked, t.exchanges))
	}
	if other := t.failed - t.lost - t.blocked; other > 0 {
		parts = append(parts, fmt.Sprintf("failed in another way in %d of all %d runs", other, t.transfers+t.exchanges))
	}
	return list(t.stacks) + " " + list(parts) + "."
}

func (t *tally) successes() string {
	var parts []string
	if t.transfers > 0 {
		parts = append(parts, fmt.Sprintf("lost nothing in %d transfers", t.transfers))
	}
	if t.exchanges > 0 {
		parts = append(parts, fmt.Sprintf("never blocked in %d runs over small buffers", t.exchanges))
	}
	return list(t.stacks) + " " + list(parts) + "."
}

// list joins parts as a sentence does.
func list(parts []string) string {
	last := len(parts) - 1
	if last < 1 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}
