package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

const (
	// DefaultRounds is how many rounds are enough for five blocks.
	DefaultRounds = 25

	// DefaultSlice is long enough that starting a slice costs nothing beside it, and short enough that the machine
	// is the same in the slices on either side.
	DefaultSlice = 30 * time.Millisecond

	// Bounds of Plan.Slice. In less than the shortest a few messages are counted; the longest is far below the time
	// after which an endpoint gives up.
	ShortestSlice = time.Millisecond
	LongestSlice  = 2 * time.Second

	// Bounds of a plan, so that a slip does not run for days or take all of a machine.
	MostRounds      = 10_000
	MostConnections = 10_000

	// mostGrowthRounds is one block: making the connections takes longer than that.
	mostGrowthRounds = 5
)

// A Plan says what to measure. The zero value of each field has a meaning.
type Plan struct {
	// Scenarios are what to measure. If nil, all.
	Scenarios []Scenario

	// Stacks are compared with [Stdlib]. If nil, those of [Stacks]. Stdlib among them adds nothing, for its control is
	// there anyway, but that may be measured alone then: how noisy a machine is.
	Stacks []Stack

	// Terminators are compared with a careful proxy on crypto/tls. If nil, those of [Terminators].
	Terminators []Terminator

	// Sides says which ends of a variant are its stack's; the others are crypto/tls. If nil, both. Terminators have
	// none.
	Sides []Side

	// Connections are the numbers of connections at once that bulk is measured with. If nil, 1 and 8. All else has one.
	Connections []int

	// IdleConnections is how many connections the memory of idle ones is measured with. If zero,
	// DefaultIdleConnections; fewer if the system does not let a process have as many files open, but none if that are
	// fewer than FewestIdleConnections: the report says so.
	IdleConnections int

	// Growth are the numbers of connections that growth is measured with. If nil, 10, 100, 1,000 and 5,000; fewer where
	// the system does not let a process have as many files open. Stacks that are not of this program have no part in it.
	Growth []int

	// Rounds of a measurement. If zero, DefaultRounds.
	Rounds int

	// Slice is about how long a slice lasts. If zero, DefaultSlice.
	Slice time.Duration

	// AnyCore lets all processes run on any core. If false, client and server have a half of the cores each, where the
	// system is Linux and there are two: figures are steadier, and a process on one core has one thread of Go.
	AnyCore bool

	// Progress is called at the start and after each round, with how many have been played and how many will be. To
	// measure memory takes a round for each stack. If nil, nothing is.
	Progress func(done, total int)
}

func (p *Plan) complete() error {
	if p.Scenarios == nil {
		p.Scenarios = Scenarios()
	}
	if p.Stacks == nil {
		p.Stacks = Stacks()
	}
	if p.Terminators == nil {
		p.Terminators = Terminators()
	}
	if p.Sides == nil {
		p.Sides = []Side{Both}
	}
	if p.Connections == nil {
		p.Connections = []int{1, 8}
	}
	if p.Growth == nil {
		p.Growth = []int{10, 100, 1000, 5000}
	}
	if p.Rounds == 0 {
		p.Rounds = DefaultRounds
	}
	if p.IdleConnections == 0 {
		p.IdleConnections = DefaultIdleConnections
	}
	if p.Slice == 0 {
		p.Slice = DefaultSlice
	}
	if p.Progress == nil {
		p.Progress = func(int, int) {}
	}
	switch {
	case p.Rounds < 0 || p.Rounds > MostRounds:
		return fmt.Errorf("bench: Plan.Rounds is %d, want 1 to %d", p.Rounds, MostRounds)
	case p.Slice < ShortestSlice || p.Slice > LongestSlice:
		return fmt.Errorf("bench: Plan.Slice is %v, want %v to %v", p.Slice, ShortestSlice, LongestSlice)
	case p.IdleConnections < 0 || p.IdleConnections > MostIdleConnections:
		return fmt.Errorf("bench: Plan.IdleConnections is %d, want 1 to %d", p.IdleConnections, MostIdleConnections)
	}
	for _, n := range p.Connections {
		if n < 1 || n > MostConnections {
			return fmt.Errorf("bench: Plan.Connections has %d, want 1 to %d", n, MostConnections)
		}
	}
	for _, n := range p.Growth {
		if n < 1 || n > MostConnections {
			return fmt.Errorf("bench: Plan.Growth has %d, want 1 to %d", n, MostConnections)
		}
	}
	for _, s := range p.Sides {
		if !slices.Contains([]Side{Both, ClientSide, ServerSide}, s) {
			return fmt.Errorf("bench: Plan.Sides has %q, want %s, %s or %s", s, Both, ClientSide, ServerSide)
		}
	}
	return nil
}

// Run measures. If ctx is done before the end, the report has what there is until then, and says so. A variant that
// fails has a row that says how; an error means that there is no report: a [*NothingError] if nothing can be measured.
//
// The endpoints are processes of this program: its main calls [Endpoint].
func Run(ctx context.Context, plan Plan) (*Report, error) {
	if err := plan.complete(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(dir)
	if _, _, _, err := tlstest.NewCA().WriteFiles(dir); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	report := newReport(&plan)
	began := time.Now()
	places := newPlaces(dir, plan.AnyCore)
	measurements := plan.measurements()
	if len(measurements) == 0 {
		return nil, &NothingError{Why: "none of the stacks can play any of the scenarios"}
	}
	report.Notes = append(report.Notes, plan.unplayed()...)
	if plan.uses(measurements, false) {
		var skipped []string
		plan.Stacks, skipped = places.build(plan.Stacks)
		report.Notes = append(report.Notes, skipped...)
	}
	if plan.uses(measurements, true) {
		var skipped []string
		plan.Terminators, skipped = places.check(plan.Terminators)
		report.Notes = append(report.Notes, skipped...)
	}
	if measurements = plan.measurements(); len(measurements) == 0 { // without what was skipped
		return nil, &NothingError{Why: strings.Join(report.Notes, "; ")}
	}
	measurements, few := fit(measurements, allowFiles)
	if len(measurements) == 0 {
		return nil, &NothingError{Why: strings.Join(few, "; "), Files: true}
	}
	report.Notes = append(report.Notes, few...)
	done, total := 0, 0
	for _, m := range measurements {
		total += m.rounds()
	}
	plan.Progress(0, total)
	for _, m := range measurements {
		if ctx.Err() != nil {
			break
		}
		m.begun = true
		err := m.play(ctx, places, func() {
			m.played++
			done++
			plan.Progress(done, total)
		})
		if ctx.Err() != nil {
			err = nil
			m.forgive() // a terminator may have been interrupted, too
		}
		report.add(m, err)
	}
	if report.Interrupted = ctx.Err() != nil; report.Interrupted {
		report.Notes = append(report.Notes, reached(measurements)...)
	}
	report.Elapsed = time.Since(began)
	return report, nil
}

func (m *measurement) play(ctx context.Context, places *places, progress func()) error {
	if m.scenario.kind == idle {
		return m.runIdle(ctx, places, progress)
	}
	// The processes are the measurement's own, so that it does not inherit another's heap.
	return places.with(append([]*pair{m.stock}, m.variants...), func() error { return m.run(ctx, progress) })
}

func (p *Plan) measurements() []*measurement {
	var all []*measurement
	for i := range p.Scenarios {
		connections := []int{1}
		switch {
		case p.Scenarios[i].many:
			connections = p.Connections
		case p.Scenarios[i].growth:
			connections = p.Growth
		case p.Scenarios[i].kind == idle:
			connections = []int{p.IdleConnections}
		}
		for _, conns := range connections {
			stock, variants := p.pairs(&p.Scenarios[i])
			if len(variants) == 1 && (p.Scenarios[i].Terminated || !p.controls()) {
				continue // the control alone
			}
			m := &measurement{plan: p, scenario: &p.Scenarios[i], conns: conns, stock: stock, variants: variants}
			m.take = m.slice
			all = append(all, m)
		}
	}
	return all
}

// controls reports whether the control is wanted though nothing else is measured, which shows how noisy the machine is.
func (p *Plan) controls() bool {
	return slices.ContainsFunc(p.Stacks, func(s Stack) bool { return s.Name == Stdlib().Name })
}

// uses reports whether stacks, or terminators, have a part in measurements.
func (p *Plan) uses(measurements []*measurement, terminated bool) bool {
	return slices.ContainsFunc(measurements, func(m *measurement) bool { return m.scenario.Terminated == terminated })
}

// pairs returns the baseline, and the control with the variants that can play a scenario.
func (p *Plan) pairs(scenario *Scenario) (stock *pair, variants []*pair) {
	id := 0
	add := func(role Role, side Side, stack string) *pair {
		base := Stdlib().Name
		v := &pair{id: id, name: stack, role: role, side: side, clientStack: base, serverStack: base}
		id++
		if side != ServerSide {
			v.clientStack = stack
		}
		if side != ClientSide {
			v.serverStack = stack
		}
		return v
	}
	if scenario.Terminated {
		front := func(role Role, t Terminator) *pair {
			v := add(role, Both, Stdlib().Name)
			v.name, v.serverStack, v.terminator = t.Name, plain().Name, &t
			return v
		}
		variants = append(variants, front(Control, Terminator{Name: stdlibProxy}))
		for _, t := range p.Terminators {
			variants = append(variants, front(Variant, t))
		}
		return front(Baseline, Terminator{Name: stdlibProxy}), variants
	}
	stock = add(Baseline, Both, Stdlib().Name)
	variants = append(variants, add(Control, Both, Stdlib().Name))
	for _, s := range p.Stacks {
		if s.Name == Stdlib().Name {
			continue // the control is there anyway
		}
		if !s.Plays(scenario) {
			continue
		}
		for _, side := range p.Sides {
			variants = append(variants, add(Variant, side, s.Name))
		}
	}
	return stock, variants
}
