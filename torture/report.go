package torture

// A Report is the outcome of a plan. Its JSON form is stable: fields may be added, none is renamed or removed.
type Report struct {
	Seed             uint64  `json:"seed"`
	Runs             int     `json:"runs"`
	SizeBytes        int64   `json:"size_bytes"`
	Rounds           int     `json:"rounds"` // more than one in a soak
	Trials           int     `json:"trials"`
	UndeterminedRuns int     `json:"undetermined_runs"` // of the trials; nothing was judged
	ElapsedSeconds   float64 `json:"elapsed_seconds"`
	Status           Status  `json:"status"`
	Rows             []Row   `json:"rows"`
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

	// ControlPasses is set where a control is right to pass: the scenario sees to it that others do no worse.
	ControlPasses bool `json:"control_passes"`

	// Verdict is the gravest class among the trials. It is Undetermined or Skipped only if all of them are.
	Verdict Class `json:"verdict"`

	// Counts says how many trials ended in each class. A class that none ended in is missing.
	Counts map[Class]int `json:"counts"`

	Trials           int   `json:"trials"`
	UndeterminedRuns int   `json:"undetermined_runs"`
	LostRuns         int   `json:"lost_runs"`        // bytes are missing
	SilentLossRuns   int   `json:"silent_loss_runs"` // of these, the sender was told success
	CorruptedRuns    int   `json:"corrupted_runs"`
	DeadlockedRuns   int   `json:"deadlocked_runs"`
	WrongErrorRuns   int   `json:"wrong_error_runs"`
	MedianLostBytes  int64 `json:"median_lost_bytes"` // of LostRuns

	// Reason says of a row that did not fail why its verdict is not OK.
	Reason string `json:"reason,omitempty"`

	// FirstFailure is the first trial with the row's verdict; nil if none failed.
	FirstFailure *Failure `json:"first_failure"`

	// Exhibit shows the first failure, or the first trial if there is none, event by event; nil if no transcript was made.
	Exhibit *Exhibit `json:"exhibit,omitempty"`
}

// A Failure is one trial that did not end well.
type Failure struct {
	Trial int `json:"trial"` // counted from zero

	// Case is the trial, and Reduced, if not nil, a smaller case that failed in the same way.
	Case    Case  `json:"case"`
	Reduced *Case `json:"reduced"`

	Verdict
}

// Smallest is the case to play again: the reduced one, if there is one.
func (f *Failure) Smallest() Case {
	if f.Reduced != nil {
		return *f.Reduced
	}
	return f.Case
}

// FailedRuns is the number of trials that did not end well.
func (r *Row) FailedRuns() int {
	failed := 0
	for class, n := range r.Counts {
		if class.failed() {
			failed += n
		}
	}
	return failed
}

// A Role says what a stack is in a plan for.
type Role string

const (
	UnderTest Role = "under-test"
	Control   Role = "control"
)

// A Status sums up a report: it is Clean, the gravest class that a stack under test showed, or BlindControl.
type Status string

const (
	// Clean: nothing failed that is under test, and every control failed where it must.
	Clean Status = "clean"

	// Deadlocked is the status of class Deadlock. That of any other class has the class's name.
	Deadlocked Status = "deadlocked"

	// BlindControl: a control did not fail where it must, so the row proves nothing of the stacks under test.
	BlindControl Status = "blind-control"
)

// StatusOf returns the status of a report whose gravest class is c.
func StatusOf(c Class) Status {
	switch {
	case !c.failed():
		return Clean
	case c == Deadlock:
		return Deadlocked
	}
	return Status(c.String())
}

// Failures returns all classes that a stack can be found guilty of, the gravest first.
func Failures() []Class {
	var classes []Class
	for c := Corrupted; c.failed(); c-- {
		classes = append(classes, c)
	}
	return classes
}

// status is the gravest of what the rows show.
func (r *Report) status() Status {
	worst, blind := OK, false
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Role == UnderTest {
			worst = max(worst, row.Verdict)
		}
		blind = blind || row.Blind
	}
	if blind && !worst.failed() {
		return BlindControl
	}
	return StatusOf(worst)
}
