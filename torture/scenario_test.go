package torture

import (
	"regexp"
	"slices"
	"testing"
)

// A report that nobody can look up, a network that does not exist, or a scenario twice, would pass unseen.
func TestScenariosAreWellFormed(t *testing.T) {
	report := regexp.MustCompile(`^[\w.-]+/[\w.-]+#\d+$`)
	seen := make(map[string]bool)
	for _, s := range Scenarios() {
		if seen[s.Name] {
			t.Errorf("%s: twice", s.Name)
		}
		seen[s.Name] = true
		if s.About == "" || s.Threat == "" || len(s.On) == 0 || s.client == nil && s.play == nil && s.dial == nil {
			t.Errorf("%s: incomplete", s.Name)
		}
		for _, r := range s.Reports {
			if !report.MatchString(r) {
				t.Errorf("%s: report %q is not owner/name#number", s.Name, r)
			}
		}
		var names []string
		for _, on := range s.On {
			networksNamed(t, on.Network)
			names = append(names, on.Network)
		}
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%s: a network twice in %q", s.Name, names)
		}
	}
	for _, s := range append(Stacks(), NamedStacks()...) {
		for _, name := range s.Except {
			scenarioNamed(t, name)
		}
	}
}
