package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A measurement is one scenario with one number of connections.
type measurement struct {
	plan     *Plan
	scenario *Scenario
	conns    int
	stock    *pair
	variants []*pair // the control among them
	take     func(*pair) (sample, error)

	begun  bool
	played int // of rounds
}

// title names it among the measurements of a plan.
func (m *measurement) title() string {
	if m.scenario.many {
		return fmt.Sprintf("%s with %s", m.scenario.Name, counted(m.conns, "connection"))
	}
	return m.scenario.Name
}

// reached says how far an interrupted run has come.
func reached(measurements []*measurement) (notes []string) {
	var whole, left []string
	for _, m := range measurements {
		what := "round"
		if m.scenario.kind == idle {
			what = "stack"
		}
		switch {
		case !m.begun:
			left = append(left, m.title())
		case m.played == m.rounds():
			whole = append(whole, m.title())
		default: // or it has failed, as its rows say
			notes = append(notes, fmt.Sprintf("%s came to %d of %s", m.title(), m.played, counted(m.rounds(), what)))
		}
	}
	if whole != nil {
		notes = slices.Insert(notes, 0, "measured to the end: "+strings.Join(whole, ", "))
	}
	if left != nil {
		notes = append(notes, "not begun: "+strings.Join(left, ", "))
	}
	return notes
}

// rounds is how often progress is called.
func (m *measurement) rounds() int {
	if m.scenario.kind == idle {
		return 1 + len(m.variants)
	}
	if m.scenario.growth {
		return min(m.plan.Rounds, mostGrowthRounds)
	}
	return m.plan.Rounds
}

// run measures until ctx is done. What there is then is in the pairs. An error means that nothing can be compared.
func (m *measurement) run(ctx context.Context, progress func()) error {
	if err := m.prepare(ctx, m.stock); err != nil {
		return fmt.Errorf("%s: %w", m.stock.name, err)
	}
	for _, v := range m.variants {
		if ctx.Err() != nil {
			return nil
		}
		v.err = m.prepare(ctx, v)
	}
	for round := range m.rounds() {
		if err := m.round(ctx, round); err != nil || ctx.Err() != nil {
			return err
		}
		progress()
	}
	return nil
}

// forgive forgets why stacks failed.
func (m *measurement) forgive() {
	m.stock.err = nil
	for _, v := range m.variants {
		v.err = nil
	}
}

func (m *measurement) prepare(ctx context.Context, p *pair) error {
	if err := p.open(ctx, m.scenario, m.conns); err != nil {
		return err
	}
	return p.calibrate(m.scenario, m.conns, m.plan.Slice)
}

// round plays a slice of each variant between two of stock. The variants take turns in being first.
func (m *measurement) round(ctx context.Context, round int) error {
	before, err := m.take(m.stock)
	if err != nil {
		return err
	}
	for i := range m.variants {
		v := m.variants[(i+round)%len(m.variants)]
		if v.err != nil {
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		got, err := m.take(v)
		if err != nil {
			v.err = err // if it took its process with it, stock's next slice fails
			continue
		}
		after, err := m.take(m.stock)
		if err != nil {
			return err
		}
		v.samples = append(v.samples, got)
		v.ratios = append(v.ratios, got.rate()/((before.rate()+after.rate())/2))
		if cost := (before.cost() + after.cost()) / 2; cost > 0 {
			v.costs = append(v.costs, got.cost()/cost)
		}
		m.stock.samples = append(m.stock.samples, before)
		before = after
	}
	m.stock.samples = append(m.stock.samples, before)
	return nil
}

// slice is take in real runs.
func (m *measurement) slice(p *pair) (sample, error) {
	s, err := p.slice(m.scenario, m.conns)
	if err != nil {
		return s, fmt.Errorf("%s: %w", p.name, err)
	}
	p.follow(s.wall, m.plan.Slice)
	return s, nil
}
