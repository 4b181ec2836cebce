package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/torture"
	"github.com/deferredtls/deferredtls/torture/bench"
)

// exitStackFailed is the status if a stack failed in a scenario, so that there is no figure.
const exitStackFailed = 2

// benchFlags are the flags of the command as the user gave them.
type benchFlags struct {
	scenarios   []string
	stacks      []string
	sides       []string
	connections []int
	idle        int
	rounds      int
	slice       time.Duration
	anyCore     bool
	html        string
	json        bool
}

func newBenchCommand() *cobra.Command {
	var flags benchFlags
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure speed and memory against crypto/tls",
		Example: "  tlsstream bench\n  tlsstream bench --scenario bulk --stack tlsstream\n  tlsstream bench --scenario ping-pong-1B --rounds 100\n  tlsstream bench list",
		Long:    benchHelp(),
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runBench(cmd, &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&flags.scenarios, "scenario", nil, "scenarios, or groups of them, separated by commas (default all)")
	f.StringSliceVar(&flags.stacks, "stack", nil, "stacks to compare with stdlib, separated by commas (default all)")
	f.StringSliceVar(&flags.sides, "side", nil, "which end is the stack's, the other is stdlib: both, client, server (default both)")
	f.IntSliceVar(&flags.connections, "connections", nil, "connections at once in bulk, separated by commas (default 1,8)")
	f.IntVar(&flags.idle, "idle-connections", bench.DefaultIdleConnections, "idle connections whose memory is measured")
	f.IntVar(&flags.rounds, "rounds", bench.DefaultRounds, "slices of each stack in each scenario")
	f.DurationVar(&flags.slice, "slice", bench.DefaultSlice, "about how long a slice lasts")
	f.BoolVar(&flags.anyCore, "any-core", false, "let client and server run on any core, not on a half each: less steady, more like a busy program")
	f.StringVar(&flags.html, "html", "", "write the report to this file, too, as a page with charts")
	f.BoolVar(&flags.json, "json", false, "print one JSON document instead of text")
	cmd.AddCommand(newBenchListCommand())
	return cmd
}

func runBench(cmd *cobra.Command, flags *benchFlags) error {
	plan, err := flags.plan()
	if err != nil {
		return err
	}
	page, err := createPage(flags.html)
	if err != nil {
		return err
	}
	defer page.discard()
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	header := stdout
	if flags.json {
		header = stderr
	}
	fmt.Fprintf(header, "%v (%s %s/%s)\n\n", flags, runtime.Version(), runtime.GOOS, runtime.GOARCH)

	progress := newProgress(stderr, 0)
	progress.what = "rounds"
	plan.Progress = func(done, total int) { progress.update(torture.Progress{Done: done, Total: total}) }
	report, err := bench.Run(cmd.Context(), plan)
	progress.end()
	if err != nil {
		return benchProblem(err, &plan)
	}
	if err := page.write(report); err != nil {
		return fmt.Errorf("cannot write the page: %w", err)
	}
	status := 0
	switch {
	case report.Interrupted:
		fmt.Fprintf(stderr, "tlsstream: interrupted after %v\n", progress)
		status = exitInterrupted
	case report.Failed():
		status = exitStackFailed
	}
	if flags.json {
		err = encodeJSON(stdout, benchDocument{benchVersion, status, report})
	} else {
		err = report.WriteText(stdout)
	}
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}

// String is the command with the knobs that decide what is measured.
func (flags *benchFlags) String() string {
	text := fmt.Sprintf("tlsstream bench --rounds %d --slice %v --idle-connections %d", flags.rounds, flags.slice, flags.idle)
	for _, list := range []struct {
		flag  string
		names []string
	}{{"scenario", flags.scenarios}, {"stack", flags.stacks}, {"side", flags.sides}} {
		if list.names != nil {
			text += " --" + list.flag + " " + strings.Join(list.names, ",")
		}
	}
	if flags.anyCore {
		text += " --any-core"
	}
	if flags.connections != nil {
		text += " --connections " + strings.Trim(strings.ReplaceAll(fmt.Sprint(flags.connections), " ", ","), "[]")
	}
	return text
}

func (flags *benchFlags) plan() (bench.Plan, error) {
	plan := bench.Plan{Connections: flags.connections, IdleConnections: flags.idle, Rounds: flags.rounds, Slice: flags.slice,
		AnyCore: flags.anyCore}
	switch {
	case flags.rounds < 1 || flags.rounds > bench.MostRounds:
		return plan, outOfRange("--rounds", flags.rounds, 1, bench.MostRounds)
	case flags.slice < bench.ShortestSlice || flags.slice > bench.LongestSlice:
		return plan, &usageError{fmt.Sprintf("--slice %v is out of range", flags.slice),
			fmt.Sprintf("choose a time from %v to %v", bench.ShortestSlice, bench.LongestSlice)}
	case flags.idle < bench.FewestIdleConnections || flags.idle > bench.MostIdleConnections:
		return plan, outOfRange("--idle-connections", flags.idle, bench.FewestIdleConnections, bench.MostIdleConnections)
	}
	for _, n := range flags.connections {
		if n < 1 || n > bench.MostConnections {
			return plan, outOfRange("--connections", n, 1, bench.MostConnections)
		}
	}
	var err error
	if plan.Scenarios, err = chooseScenarios(flags.scenarios); err != nil {
		return plan, err
	}
	if err := flags.chooseStacks(&plan); err != nil {
		return plan, err
	}
	sides := []bench.Side{bench.Both, bench.ClientSide, bench.ServerSide}
	if flags.sides != nil {
		if plan.Sides, err = choose("side", flags.sides, sides, func(s bench.Side) string { return string(s) }); err != nil {
			return plan, err
		}
	}
	return plan, nil
}

func outOfRange(flag string, n, least, most int) error {
	return &usageError{fmt.Sprintf("%s %d is out of range", flag, n), fmt.Sprintf("choose from %d to %d", least, most)}
}

// chooseStacks picks stacks and terminators by their names; if none is named, all but stdlib, which is there anyway.
func (flags *benchFlags) chooseStacks(plan *bench.Plan) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	terminators := benchTerminators(self)
	if flags.stacks == nil {
		plan.Stacks, plan.Terminators = bench.Stacks(), terminators
		return nil
	}
	stacks := benchStacks()
	known := slices.Concat(names(stacks, benchStackName), names(terminators, terminatorName))
	if _, err := choose("stack", flags.stacks, known, func(name string) string { return name }); err != nil {
		return err
	}
	plan.Stacks = slices.DeleteFunc(stacks, func(s bench.Stack) bool { return !slices.Contains(flags.stacks, s.Name) })
	plan.Terminators = slices.DeleteFunc(terminators, func(t bench.Terminator) bool { return !slices.Contains(flags.stacks, t.Name) })
	return nil
}

// chooseScenarios picks scenarios by their names or their groups'.
func chooseScenarios(wanted []string) ([]bench.Scenario, error) {
	all := bench.Scenarios()
	for _, w := range wanted {
		if !slices.ContainsFunc(all, func(s bench.Scenario) bool { return w == s.Name || w == s.Group }) {
			return nil, &usageError{
				fmt.Sprintf("unknown scenario %q", w),
				"choose from the groups " + strings.Join(scenarioGroups(all), ", ") + ", or from " +
					strings.Join(names(all, func(s bench.Scenario) string { return s.Name }), ", "),
			}
		}
	}
	if len(wanted) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(s bench.Scenario) bool {
		return !slices.Contains(wanted, s.Name) && !slices.Contains(wanted, s.Group)
	}), nil
}
