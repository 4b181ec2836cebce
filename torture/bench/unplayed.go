package bench

import (
	"slices"
	"strings"
)

// A NothingError says why there is nothing to measure. Files says that it takes a higher limit of open files; else other
// stacks, or other scenarios, would help.
type NothingError struct {
	Why   string
	Files bool
}

func (e *NothingError) Error() string { return "bench: nothing to measure: " + e.Why }

// unplayed says which of the scenarios have no row of a stack, or none at all, because it cannot play them.
func (p *Plan) unplayed() (notes []string) {
	for i := range p.Stacks {
		s := &p.Stacks[i]
		if not := p.scenarios(func(c *Scenario) bool { return !c.Terminated && !s.Plays(c) }); not != "" {
			notes = append(notes, s.Name+" does not play "+not)
		}
	}
	if not := p.scenarios(func(c *Scenario) bool { return c.Terminated && len(p.Terminators) == 0 }); not != "" {
		notes = append(notes, "without a terminator nothing plays "+not)
	}
	if not := p.scenarios(func(c *Scenario) bool { return !c.Terminated && len(p.Stacks) == 0 }); not != "" {
		notes = append(notes, "terminators do not play "+not)
	}
	return notes
}

// scenarios names those of the plan's that are wanted: a group by its name if they are all of it.
func (p *Plan) scenarios(wanted func(*Scenario) bool) string {
	var names []string
	all := slices.DeleteFunc(slices.Clone(p.Scenarios), func(s Scenario) bool { return !wanted(&s) })
	for _, s := range all {
		name := s.Name
		if whole := groupSize(Scenarios(), s.Group); whole > 1 && whole == groupSize(all, s.Group) {
			name = s.Group
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

func groupSize(scenarios []Scenario, group string) (n int) {
	for i := range scenarios {
		if scenarios[i].Group == group {
			n++
		}
	}
	return n
}
