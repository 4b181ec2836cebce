package torture

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"sync"
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

	// Runs is how often each scenario runs for each stack and network; 30 if zero.
	Runs int

	// SizeBytes is the length of an upload; 1 MiB if zero.
	SizeBytes int64

	// Seed determines what the runs choose. Zero is a seed like any other.
	Seed uint64

	// Parallel is how many runs are under way at once; if zero, eight for each processor, since most of them wait.
	Parallel int

	// Progress, if not nil, is called after each trial, from one goroutine at a time.
	Progress func(Progress)
}

// Progress tells how far a plan has come.
type Progress struct {
	Done, Total int // trials

	// Scenario, Network and Stack name the trial that has just ended.
	Scenario, Network, Stack string
}

const (
	defaultRuns      = 30
	defaultSizeBytes = 1 << 20
	parallelPerCPU   = 8
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
	if err := plan.play(ctx, rows); err != nil {
		return nil, err
	}
	report := &Report{
		Seed:           plan.Seed,
		Runs:           plan.Runs,
		SizeBytes:      plan.SizeBytes,
		ElapsedSeconds: time.Since(started).Seconds(),
	}
	for _, r := range rows {
		report.Rows = append(report.Rows, r.report())
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
	if p.Runs < 0 || p.SizeBytes < 0 || p.Parallel < 0 {
		return errors.New("torture: Plan.Runs, SizeBytes and Parallel must not be negative")
	}
	if p.Scenarios == nil {
		p.Scenarios = Scenarios()
	}
	if p.Networks == nil {
		p.Networks = Networks()
	}
	p.Runs = cmp.Or(p.Runs, defaultRuns)
	p.SizeBytes = cmp.Or(p.SizeBytes, defaultSizeBytes)
	p.Parallel = cmp.Or(p.Parallel, parallelPerCPU*runtime.GOMAXPROCS(0))
	return nil
}

// A row is all trials of one scenario on one network with one stack.
type row struct {
	scenario *Scenario
	network  *Network
	stack    *Stack
	role     Role
	mustFail bool
	verdicts []Verdict // by trial
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
					if scenario.ofClient && stack.clientMayLose {
						return
					}
					rows = append(rows, &row{
						scenario: scenario,
						network:  &p.Networks[j],
						stack:    stack,
						role:     role,
						mustFail: role == Control && p.SizeBytes >= on.MinSize,
						verdicts: make([]Verdict, p.Runs*max(1, scenario.TrialsPerRun)),
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

// play runs all trials of the rows. Long rows and short ones mix, so that the processors work while other trials wait.
func (p *Plan) play(ctx context.Context, rows []*row) error {
	type job struct {
		row   *row
		index int
	}
	var jobs []job
	for _, r := range rows {
		for i := range r.verdicts {
			jobs = append(jobs, job{r, i})
		}
	}
	order := rand.New(rand.NewPCG(p.Seed, 0))
	order.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })

	identity, err := newIdentity(p.Seed)
	if err != nil {
		return err
	}
	var programs workshop
	defer programs.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan job)
	var (
		workers sync.WaitGroup
		mu      sync.Mutex // guards done and calls of Progress
		done    int
	)
	for range min(p.Parallel, len(jobs)) {
		workers.Go(func() {
			for j := range queue {
				t := &trial{
					scenario: j.row.scenario,
					network:  j.row.network,
					stack:    j.row.stack,
					seed:     p.trialSeed(j.row, j.index),
					index:    j.index,
					of:       len(j.row.verdicts),
					size:     p.SizeBytes,
					identity: identity,
					workshop: &programs,
				}
				verdict, err := t.run(ctx)
				if err != nil {
					cancel(err)
					return
				}
				j.row.verdicts[j.index] = verdict
				mu.Lock()
				done++
				if p.Progress != nil {
					p.Progress(Progress{done, len(jobs), t.scenario.Name, t.network.Name, t.stack.Name})
				}
				mu.Unlock()
			}
		})
	}
feed:
	for _, j := range jobs {
		select {
		case queue <- j:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	workers.Wait()
	return context.Cause(ctx)
}

// trialSeed does not depend on the stack: a control meets what the stack under test meets.
func (p *Plan) trialSeed(r *row, index int) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%d/", r.scenario.Name, r.network.Name, index)
	h.Write(binary.BigEndian.AppendUint64(nil, p.Seed))
	return h.Sum64()
}
