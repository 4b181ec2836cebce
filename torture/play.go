package torture

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A job is one trial that a worker is to play.
type job struct {
	row      *row
	at       place
	c        Case
	identity *identity
}

// play runs all trials of the rows, and in a soak many rounds of them. It returns the number of rounds begun.
func (p *Plan) play(ctx context.Context, rows []*row, watch leakWatch) (rounds int, err error) {
	total := 0
	if p.Duration == 0 {
		for _, r := range rows {
			total += (r.trials + r.stride - 1) / r.stride
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan job)
	var programs workshop
	defer programs.close()
	var (
		workers sync.WaitGroup
		mu      sync.Mutex // guards done, the rows, and calls of Progress
		done    int
	)
	for range p.Parallel {
		workers.Go(func() {
			for j := range queue {
				label := watch.label(j.c)
				out, program, err := j.run(ctx, label, &programs)
				if err != nil {
					cancel(err)
					return
				}
				j.c.Program = program
				mu.Lock()
				done++
				j.row.add(j.at, label, j.c, out.verdict)
				if p.Progress != nil {
					p.Progress(Progress{done, total, j.c.Scenario, j.c.Network, j.c.Stack})
				}
				mu.Unlock()
			}
		})
	}
	rounds, err = p.feed(ctx, rows, queue)
	close(queue)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return rounds, err
}

// feed puts round after round of jobs into the queue until the plan is played.
func (p *Plan) feed(ctx context.Context, rows []*row, queue chan<- job) (rounds int, err error) {
	var over <-chan time.Time // never, in the first round
	if p.Duration > 0 {
		timer := time.NewTimer(p.Duration)
		defer timer.Stop()
		over = timer.C
	}
	for ; ; rounds++ {
		jobs, err := p.round(rows, rounds)
		if err != nil {
			return rounds, err
		}
		for _, j := range jobs {
			end := over
			if rounds == 0 {
				end = nil
			}
			select {
			case queue <- j:
			case <-end:
				return rounds + 1, nil
			case <-ctx.Done():
				return rounds, nil
			}
		}
		rows = p.soaked(rows)
		if p.Duration == 0 || len(rows) == 0 {
			return rounds + 1, nil
		}
	}
}

// round returns the jobs of one round. Long rows and short ones mix, so that the processors work while other trials wait.
func (p *Plan) round(rows []*row, round int) ([]job, error) {
	seed := p.Seed
	if round > 0 {
		derived := streamSeed(p.Seed, fmt.Sprintf("round %d", round))
		seed = binary.BigEndian.Uint64(derived[:])
	}
	identity, err := newIdentity(seed)
	if err != nil {
		return nil, err
	}
	var jobs []job
	for _, r := range rows {
		first := 0
		if r.scenario.random {
			first = round * r.trials // goes on where the last round ended: all small cases, then new ones
		}
		for i := 0; i < r.trials; i += r.stride {
			jobs = append(jobs, job{row: r, at: place{round, i}, identity: identity, c: Case{
				Scenario: r.scenario.Name,
				Network:  r.network.Name,
				Stack:    r.stack.Name,
				Size:     p.SizeBytes,
				Seed:     seed,
				Trial:    first + i,
				Of:       first + r.trials,
			}})
		}
	}
	order := rand.New(rand.NewPCG(seed, 0))
	order.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
	return jobs, nil
}

// soaked returns the rows that a soak repeats: a control has shown what it had to in the first round.
func (p *Plan) soaked(rows []*row) []*row {
	var tested, random []*row
	for _, r := range rows {
		if r.role == UnderTest {
			tested = append(tested, r)
			if r.scenario.random {
				random = append(random, r)
			}
		}
	}
	if random != nil {
		return random
	}
	return tested
}

// run plays the job, and returns the program that was played, if the scenario is one of programs.
func (j job) run(ctx context.Context, label string, programs *workshop) (out result, program string, err error) {
	t, err := j.c.trial(j.row.scenario, j.row.network, j.row.stack, j.identity)
	if err != nil {
		return result{}, "", err
	}
	t.label, t.workshop = label, programs
	out, err = t.run(ctx)
	c := j.c
	c.Program = t.program
	j.row.exhibit.offer(t, j.at, c, out.verdict, err)
	return out, t.program, err
}
