package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// A Plan says what to run. Its zero value tests nothing: it needs a stack.
type Plan struct {
	// Stacks are under test: the report's Status speaks of them.
	Stacks []Stack

	// Controls are stacks known to be bad. A control that does not fail where it must makes its row blind.
	Controls []Stack

	// Scenarios and Networks are all that are built in, if nil. A scenario runs on those of the networks that it names.
	Scenarios []Scenario
	Networks  []Network

	// Runs is how often each scenario runs for each stack and network; 6 if zero. A sweep has several trials for each
	// run, and what is costly has one trial for several. All in all there are 2,097,152 trials at most.
	Runs int

	// SizeBytes is the length of an upload; 1 MiB if zero, and 1 TiB at most.
	SizeBytes int64

	// Seed determines what the runs choose. Zero is a seed like any other.
	Seed uint64

	// Parallel is how many runs are under way at once; if zero, eight for each processor, since most of them wait.
	Parallel int

	// Duration, if positive, makes a soak of the plan: when all has been played once, the stacks under test play the
	// scenarios that are random, or all if none is, again and again with new seeds that follow from Seed, until the time
	// is over.
	Duration time.Duration

	// Reduce is how many failing rows of stacks under test get a reduced case, the gravest first; none if zero.
	Reduce int

	// Progress, if not nil, is called after each trial, from one goroutine at a time.
	Progress func(Progress)
}

// Progress tells how far a plan has come.
type Progress struct {
	Done, Total int // trials; Total is zero in a soak

	// Scenario, Network and Stack name the trial that has just ended.
	Scenario, Network, Stack string
}

const (
	defaultRuns      = 6
	defaultSizeBytes = 1 << 20
	parallelPerCPU   = 8

	// A control fails in nearly every trial, and its deadlocks take most of the time that a plan takes. So of more than
	// fewTrials it plays every controlStride-th; an odd stride meets both halves of a sweep.
	fewTrials     = 12
	controlStride = 3

	// maxTrials is the most that a plan plays in a round: all of them are listed before the first is played. What is to
	// take longer is a soak.
	maxTrials = 1 << 21

	// maxSizeBytes is past what anybody waits for, and keeps the time that a run may take in range.
	maxSizeBytes = 1 << 40
)

// Run runs the plan. If ctx ends first, Run stops all that is under way, waits for it and returns the context's cause.
// No goroutine is left, unless a stack does not return from its calls within ten seconds after its transport is
// closed, which counts as a deadlock.
func Run(ctx context.Context, plan Plan) (*Report, error) {
	if err := plan.complete(); err != nil {
		return nil, err
	}
	started := time.Now()
	rows := plan.rows()
	if len(rows) == 0 {
		return nil, errors.New("torture: none of the scenarios runs on any of the networks")
	}
	trials := 0
	for _, r := range rows {
		if trials += r.trials; trials > maxTrials {
			return nil, fmt.Errorf("torture: more than %d trials: choose fewer Runs, or a Duration", maxTrials)
		}
	}
	watch := newLeakWatch()
	rounds, err := plan.play(ctx, rows, watch)
	if err != nil {
		return nil, err
	}
	for _, l := range watch.leaks(ctx) {
		for _, r := range rows {
			if r.scenario.Name == l.c.Scenario && r.network.Name == l.c.Network && r.stack.Name == l.c.Stack {
				r.addLeak(l)
			}
		}
	}
	plan.reduce(ctx, rows)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}

	report := &Report{
		Seed:           plan.Seed,
		Runs:           plan.Runs,
		SizeBytes:      plan.SizeBytes,
		Rounds:         rounds,
		ElapsedSeconds: time.Since(started).Seconds(),
	}
	for _, r := range rows {
		row := r.report()
		report.Rows = append(report.Rows, row)
		report.Trials += row.Trials
		report.UndeterminedRuns += row.UndeterminedRuns
	}
	report.Status = report.status()
	return report, nil
}

// complete checks the plan and fills in what is left out.
func (p *Plan) complete() error {
	if len(p.Stacks) == 0 {
		return errors.New("torture: Plan.Stacks is empty")
	}
	names := make(map[string]bool)
	for _, stacks := range []*[]Stack{&p.Stacks, &p.Controls} {
		*stacks = append([]Stack(nil), *stacks...)
		for i := range *stacks {
			s := &(*stacks)[i]
			if s.Name == "" {
				return errors.New("torture: a stack has no Name, and its cases could not be replayed")
			}
			if s.Server == nil {
				return fmt.Errorf("torture: stack %q has no Server", s.Name)
			}
			if names[s.Name] {
				return fmt.Errorf("torture: two stacks are named %q", s.Name)
			}
			names[s.Name] = true
			if s.Client == nil {
				s.clientMayLose = true
				s.Client = Stdlib().Client
			}
		}
	}
	if p.Runs < 0 || p.SizeBytes < 0 || p.Parallel < 0 || p.Duration < 0 || p.Reduce < 0 {
		return errors.New("torture: Plan.Runs, SizeBytes, Parallel, Duration and Reduce must not be negative")
	}
	if p.Runs > maxTrials || p.SizeBytes > maxSizeBytes {
		return fmt.Errorf("torture: Plan.Runs is at most %d and SizeBytes at most %d", maxTrials, int64(maxSizeBytes))
	}
	if p.Scenarios == nil {
		p.Scenarios = Scenarios()
	}
	if p.Networks == nil {
		p.Networks = Networks()
	}
	for i := range p.Scenarios {
		s := &p.Scenarios[i]
		if s.play != nil {
			continue
		}
		if s.client == nil || s.server == nil {
			return fmt.Errorf("torture: scenario %q is not one of Scenarios: it has no script", s.Name)
		}
		for _, n := range p.Networks {
			runs := slices.ContainsFunc(s.On, func(o On) bool { return o.Network == n.Name })
			if runs && (n.StallAfter < stillTicks || n.Dial == nil && s.dial == nil) {
				return fmt.Errorf("torture: network %q has no Dial, or no StallAfter", n.Name)
			}
		}
	}
	p.Runs = cmp.Or(p.Runs, defaultRuns)
	p.SizeBytes = cmp.Or(p.SizeBytes, defaultSizeBytes)
	p.Parallel = cmp.Or(p.Parallel, parallelPerCPU*runtime.GOMAXPROCS(0))
	return nil
}

func (p *Plan) rows() []*row {
	var rows []*row
	for i := range p.Scenarios {
		scenario := &p.Scenarios[i]
		for _, on := range scenario.On {
			for j := range p.Networks {
				if p.Networks[j].Name != on.Network {
					continue
				}
				add := func(stack *Stack, role Role) {
					if slices.Contains(stack.Except, scenario.Name) || scenario.ofClient && stack.clientMayLose {
						return
					}
					trials, stride := p.trials(scenario, &p.Networks[j]), 1
					if role == Control && trials > fewTrials {
						stride = controlStride
					}
					rows = append(rows, &row{
						scenario: scenario,
						network:  &p.Networks[j],
						stack:    stack,
						role:     role,
						mustFail: role == Control && !on.ControlPasses && p.SizeBytes >= on.MinSize,
						passes:   on.ControlPasses,
						trials:   trials,
						stride:   stride,
					})
				}
				for k := range p.Controls {
					add(&p.Controls[k], Control)
				}
				for k := range p.Stacks {
					add(&p.Stacks[k], UnderTest)
				}
			}
		}
	}
	return rows
}

// trials is how many trials a scenario has on a network: as many as there are runs, more of a sweep, fewer of what is
// costly, and at least one.
func (p *Plan) trials(scenario *Scenario, network *Network) int {
	trials := p.Runs * max(1, scenario.TrialsPerRun)
	share := max(1, scenario.RunsPerTrial) * max(1, network.RunsPerTrial)
	return (trials + share - 1) / share
}
