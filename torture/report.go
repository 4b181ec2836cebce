package torture

import "slices"

// A Report is the outcome of a plan. Its JSON form is stable: fields may be added, none is renamed or removed.
type Report struct {
	Seed           uint64  `json:"seed"`
	Runs           int     `json:"runs"`
	SizeBytes      int64   `json:"size_bytes"`
	ElapsedSeconds float64 `json:"elapsed_seconds"`
	Status         Status  `json:"status"`
	Rows           []Row   `json:"rows"`
}

// A Row sums up the trials of one scenario on one network with one stack.
type Row struct {
	Scenario string `json:"scenario"`
	Network  string `json:"network"`
	Stack    string `json:"stack"`
	Role     Role   `json:"role"`
	Threat   Threat `json:"threat"`

	// MustFail is set for a control that has to fail here, and Blind if it did not.
	MustFail bool `json:"must_fail"`
	Blind    bool `json:"blind"`

	// Verdict is the gravest class among the trials.
	Verdict Class `json:"verdict"`

	Trials          int   `json:"trials"`
	LostRuns        int   `json:"lost_runs"`        // bytes are missing
	SilentLossRuns  int   `json:"silent_loss_runs"` // of these, the sender was told success
	CorruptedRuns   int   `json:"corrupted_runs"`
	DeadlockedRuns  int   `json:"deadlocked_runs"`
	WrongErrorRuns  int   `json:"wrong_error_runs"`
	MedianLostBytes int64 `json:"median_lost_bytes"` // of LostRuns

	// FirstFailure is the first trial with the row's verdict; nil if all are OK.
	FirstFailure *Failure `json:"first_failure"`

	// Exhibit shows the first failure, or the first trial if all are OK, event by event; nil if it left no trace.
	Exhibit *Exhibit `json:"exhibit,omitempty"`
}

// A Failure is one trial that did not end well.
type Failure struct {
	Trial int `json:"trial"` // counted from zero
	Verdict
}

// FailedRuns is the number of trials that did not end well.
func (r *Row) FailedRuns() int {
	return r.LostRuns + r.CorruptedRuns + r.DeadlockedRuns + r.WrongErrorRuns
}

// A Role says what a stack is in a plan for.
type Role string

const (
	UnderTest Role = "under-test"
	Control   Role = "control"
)

// A Status sums up a report.
type Status string

const (
	// Clean: nothing failed that is under test, and every control failed where it must.
	Clean Status = "clean"

	// DataFailed: a stack under test lost or corrupted data, or reported a failure where all had arrived.
	DataFailed Status = "data-failed"

	// Deadlocked: a stack under test blocked for ever.
	Deadlocked Status = "deadlocked"

	// BlindControl: a control did not fail where it must, so the row proves nothing of the stacks under test.
	BlindControl Status = "blind-control"
)

// status is the gravest of what the rows show.
func (r *Report) status() Status {
	var failed, blocked, blind bool
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Role == UnderTest {
			blocked = blocked || row.Verdict == Deadlock
			failed = failed || row.Verdict > Undetermined && row.Verdict != Deadlock
		}
		blind = blind || row.Blind
	}
	switch {
	case failed:
		return DataFailed
	case blocked:
		return Deadlocked
	case blind:
		return BlindControl
	}
	return Clean
}

// report sums up a row whose trials have all been played.
func (r *row) report() Row {
	sum := Row{
		Scenario: r.scenario.Name,
		Network:  r.network.Name,
		Stack:    r.stack.Name,
		Role:     r.role,
		Threat:   r.scenario.Threat,
		MustFail: r.mustFail,
		Trials:   len(r.verdicts),
		Exhibit:  r.kept,
	}
	var lost []int64
	for i, v := range r.verdicts {
		switch v.Class {
		case SilentLoss:
			sum.SilentLossRuns++
			fallthrough
		case Lost:
			sum.LostRuns++
			lost = append(lost, v.LostBytes)
		case Corrupted:
			sum.CorruptedRuns++
		case Deadlock:
			sum.DeadlockedRuns++
		case WrongError:
			sum.WrongErrorRuns++
		}
		if v.Class > sum.Verdict {
			sum.Verdict = v.Class
			sum.FirstFailure = &Failure{Trial: i, Verdict: v}
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		sum.MedianLostBytes = lost[len(lost)/2]
	}
	sum.Blind = r.mustFail && sum.Verdict == OK
	return sum
}
