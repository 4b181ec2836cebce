package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/deferredtls/deferredtls/torture/bench"
)

// benchProblem is why there is no report, with what to do about it.
func benchProblem(err error, plan *bench.Plan) error {
	nothing, ok := errors.AsType[*bench.NothingError](err)
	if !ok {
		return err
	}
	hint := "raise the limit of open files with ulimit -n"
	if !nothing.Files {
		hint = whoPlays(plan)
	}
	return &usageError{"nothing to measure: " + nothing.Why, hint}
}

// whoPlays names the stacks that play the scenarios of a plan, besides its own.
func whoPlays(plan *bench.Plan) string {
	groups := make(map[string][]string) // by their stacks
	var order, texts []string
	chosen := slices.Concat(names(plan.Stacks, benchStackName), names(plan.Terminators, terminatorName))
	for i := range plan.Scenarios {
		s := &plan.Scenarios[i]
		stacks := names(benchTerminators(""), terminatorName)
		if !s.Terminated {
			stacks = names(slices.DeleteFunc(bench.Stacks(), func(stack bench.Stack) bool { return !stack.Plays(s) }), benchStackName)
		}
		who := strings.Join(slices.DeleteFunc(stacks, func(name string) bool { return slices.Contains(chosen, name) }), ", ")
		if groups[who] == nil {
			order = append(order, who)
		}
		if !slices.Contains(groups[who], s.Group) {
			groups[who] = append(groups[who], s.Group)
		}
	}
	for _, who := range order {
		texts = append(texts, strings.Join(groups[who], ", ")+": "+who)
	}
	return "choose from the stacks that play " + strings.Join(texts, "; ")
}

// scenarioGroups are in order.
func scenarioGroups(scenarios []bench.Scenario) []string {
	return slices.Compact(names(scenarios, func(s bench.Scenario) string { return s.Group }))
}
