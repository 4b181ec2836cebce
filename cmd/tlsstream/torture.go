package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/torture"
)

// reducedRows is how many failing rows get a case that is as small as possible.
const reducedRows = 4

// tortureFlags are the flags of the command as the user gave them.
type tortureFlags struct {
	runs      int
	size      byteSize
	scenarios []string
	stacks    []string
	networks  []string
	seed      uint64
	duration  time.Duration
	parallel  int
	html      string
	json      bool
}

func newTortureCommand() *cobra.Command {
	const example = "  tlsstream torture\n  tlsstream torture --scenario upload --network tcp --size 8MiB --runs 50\n" +
		"  tlsstream torture --duration 10m --stack tlsstream\n  tlsstream torture --html torture.html\n"
	cmd := newRunCommand(&cobra.Command{
		Use:     "torture",
		Short:   "Make TLS stacks lose data and deadlock, if they can",
		Example: example + "  tlsstream torture list\n  tlsstream torture replay upload:pipe-strict:stdlib:size=65536:seed=7:trial=0/1",
	})
	run := newRunCommand(&cobra.Command{Use: "run", Short: "Play a plan; what torture does without a subcommand", Example: example})
	cmd.AddCommand(run, newListCommand(), newReplayCommand())
	return cmd
}

// newRunCommand completes a command that plays a plan.
func newRunCommand(cmd *cobra.Command) *cobra.Command {
	flags := tortureFlags{size: 1 << 20}
	cmd.Long = runHelp()
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("seed") {
			flags.seed = uint64(rand.Uint32())
		}
		return runTorture(cmd, &flags)
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&flags.runs, "runs", 6, "how often to run each scenario for each stack and network; sweeps run more often, costly ones less")
	f.Var(&flags.size, "size", "length of an upload, such as 65536, 64KiB or 1MiB")
	f.StringSliceVar(&flags.scenarios, "scenario", nil, "scenarios to run, separated by commas (default all)")
	f.StringSliceVar(&flags.stacks, "stack", nil, "stacks to run, separated by commas (default all but tlsstream-writebehind, tlsstream-own and those of utls)")
	f.StringSliceVar(&flags.networks, "network", nil, "networks to run on, separated by commas (default all)")
	f.Uint64Var(&flags.seed, "seed", 0, "seed of all that is chosen at random (default a new one)")
	f.DurationVar(&flags.duration, "duration", 0, "soak: go on for so long, such as 10m, with new seeds that follow from the seed")
	f.IntVar(&flags.parallel, "parallel", 0, "runs under way at once (default eight for each processor)")
	f.StringVar(&flags.html, "html", "", "write the report to this file, too, as a page with a diagram of each cell")
	f.BoolVar(&flags.json, "json", false, "print one JSON document instead of text")
	return cmd
}

func runTorture(cmd *cobra.Command, flags *tortureFlags) error {
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

	progress := newProgress(stderr, flags.duration)
	plan.Progress = progress.update
	report, err := torture.Run(cmd.Context(), plan)
	progress.end()
	if cmd.Context().Err() != nil {
		fmt.Fprintf(stderr, "tlsstream: interrupted after %v\n", progress)
		return exitStatus(exitInterrupted)
	}
	if err != nil {
		return err
	}
	if err := page.write(report); err != nil {
		return fmt.Errorf("cannot write the page: %w", err)
	}
	if flags.json {
		err = writeJSON(stdout, report)
	} else {
		err = writeText(stdout, report)
	}
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	if status := exitOf(report.Status); status != 0 {
		return exitStatus(status)
	}
	return nil
}

// String is the command with the knobs that decide what is played.
func (flags *tortureFlags) String() string {
	text := fmt.Sprintf("tlsstream torture --seed %d --runs %d --size %v", flags.seed, flags.runs, flags.size)
	for _, list := range []struct {
		flag  string
		names []string
	}{{"scenario", flags.scenarios}, {"network", flags.networks}, {"stack", flags.stacks}} {
		if list.names != nil {
			text += " --" + list.flag + " " + strings.Join(list.names, ",")
		}
	}
	if flags.duration > 0 {
		text += fmt.Sprintf(" --duration %v", flags.duration)
	}
	if flags.parallel > 0 {
		text += fmt.Sprintf(" --parallel %d", flags.parallel)
	}
	return text
}

// plan checks the flags. The stdlib stack is a control, unless it is alone.
func (flags *tortureFlags) plan() (torture.Plan, error) {
	plan := torture.Plan{
		Runs:      flags.runs,
		SizeBytes: int64(flags.size),
		Seed:      flags.seed,
		Duration:  flags.duration,
		Parallel:  flags.parallel,
		Reduce:    reducedRows,
	}
	switch {
	case flags.runs < 1:
		return plan, &usageError{fmt.Sprintf("--runs %d is less than one", flags.runs), "choose at least 1"}
	case flags.duration < 0:
		return plan, &usageError{fmt.Sprintf("--duration %v is negative", flags.duration), "choose a time such as 10m"}
	case flags.parallel < 0:
		return plan, &usageError{fmt.Sprintf("--parallel %d is negative", flags.parallel), "choose at least 1"}
	}
	var err error
	if plan.Scenarios, err = choose("scenario", flags.scenarios, torture.Scenarios(), scenarioName); err != nil {
		return plan, err
	}
	if plan.Networks, err = choose("network", flags.networks, torture.Networks(), networkName); err != nil {
		return plan, err
	}
	stacks := torture.Stacks()
	if flags.stacks != nil {
		if stacks, err = choose("stack", flags.stacks, allStacks(), stackName); err != nil {
			return plan, err
		}
	}
	control := torture.Stdlib().Name
	isControl := func(s torture.Stack) bool { return s.Name == control }
	if i := slices.IndexFunc(stacks, isControl); i >= 0 && len(stacks) > 1 {
		plan.Controls = []torture.Stack{stacks[i]}
		stacks = slices.DeleteFunc(stacks, isControl)
	}
	plan.Stacks = stacks

	var on []string
	for _, s := range plan.Scenarios {
		on = append(on, networksOf(s)...)
	}
	if !slices.ContainsFunc(plan.Networks, func(n torture.Network) bool { return slices.Contains(on, n.Name) }) {
		slices.Sort(on)
		return plan, &usageError{
			fmt.Sprintf("nothing to run: none of the chosen scenarios runs on %s", strings.Join(flags.networks, ", ")),
			"choose from " + strings.Join(slices.Compact(on), ", "),
		}
	}
	return plan, nil
}

// allStacks are the stacks that a plan has unless it names others, and those that it has only if it names them.
func allStacks() []torture.Stack { return append(torture.Stacks(), torture.NamedStacks()...) }

// choose picks the wanted ones of all, in the order of all; if none is named, all.
func choose[T any](kind string, wanted []string, all []T, name func(T) string) ([]T, error) {
	if len(wanted) == 0 {
		return all, nil
	}
	known := names(all, name)
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return nil, &usageError{
				fmt.Sprintf("unknown %s %q", kind, w),
				"choose from " + strings.Join(known, ", "),
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(v T) bool { return !slices.Contains(wanted, name(v)) }), nil
}

func names[T any](all []T, name func(T) string) []string {
	list := make([]string, len(all))
	for i, v := range all {
		list[i] = name(v)
	}
	return list
}

func scenarioName(s torture.Scenario) string { return s.Name }
func networkName(n torture.Network) string   { return n.Name }
func stackName(s torture.Stack) string       { return s.Name }
func networksOf(s torture.Scenario) []string {
	return names(s.On, func(o torture.On) string { return o.Network })
}
