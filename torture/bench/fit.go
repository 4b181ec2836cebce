package bench

import (
	"fmt"
	"slices"
)

const (
	// FewestIdleConnections is how many it takes: with fewer, what a process has only once is a great part of the figure.
	FewestIdleConnections = 50

	// spareFiles is how many files a process needs besides its connections, with room.
	spareFiles = 64

	// What a measurement with one connection cannot do without: the pipes of the processes with what Go's runtime has
	// open, and for each lane a listener and a connection, or what a terminator's process needs.
	fewestFiles      = 20
	filesOfLane      = 2
	filesOfFrontLane = 5
)

// fit raises the limit of open files for what the measurements need by allow, which is allowFiles. It makes those smaller
// that do not fit, and leaves out what would then mean nothing or be measured twice.
func fit(measurements []*measurement, allow func(int) int) (fitting []*measurement, notes []string) {
	var few, fewIdle []string
	limit := 0
	for _, m := range measurements {
		lanes, each := 1, filesOfLane
		if m.scenario.kind != idle {
			lanes += len(m.variants)
		}
		if m.scenario.Terminated {
			each = filesOfFrontLane
		}
		need := m.conns*lanes + spareFiles
		if got := allow(need); got < need {
			limit = got
			conns := min(m.conns, max(1, (got-spareFiles)/lanes))
			switch {
			case got < fewestFiles+lanes*each:
				few = append(few, m.scenario.Name)
				continue
			case m.scenario.kind == idle && conns < min(m.conns, FewestIdleConnections):
				fewIdle = append(fewIdle, m.scenario.Name)
				continue
			case conns < m.conns:
				notes = append(notes, fmt.Sprintf("%s has %s in place of %d: a process may have %d files open",
					m.scenario.Name, counted(conns, "connection"), m.conns, got))
			}
			m.conns = conns
		}
		if !slices.ContainsFunc(fitting, func(f *measurement) bool { return f.scenario == m.scenario && f.conns == m.conns }) {
			fitting = append(fitting, m)
		}
	}
	named := func(names []string) string {
		return measurements[0].plan.scenarios(func(s *Scenario) bool { return slices.Contains(names, s.Name) })
	}
	if few != nil {
		notes = append(notes, fmt.Sprintf("a process may have %d files open (ulimit -n), too few for %s", limit, named(few)))
	}
	if fewIdle != nil {
		notes = append(notes, fmt.Sprintf("a process may have %d files open (ulimit -n), too few for the %d connections below which %s would mean nothing",
			limit, FewestIdleConnections, named(fewIdle)))
	}
	return fitting, notes
}
