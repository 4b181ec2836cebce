package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/torture"
)

const tortureHelp = `Torture plays uploads and other exchanges against TLS stacks, over kernel TCP and
over in-memory pipes with TCP's rules, and counts what is lost and who blocks.

The stack "stdlib" is stock crypto/tls. It fails all of this, and runs as a control:
where it does not fail, the row is blind and proves nothing. If it is the only stack
chosen, it is the one under test.

Scenarios:
%s
Networks:
%s
Exit status, the first that applies:
  %d  a stack under test lost or corrupted data, or reported a failure where all had arrived
  %d  a stack under test blocked for ever
  %d  a control that must fail did not
  %d  wrong usage, or an internal error
  %d  interrupted
  0  none of these

With --json the result is one JSON document on standard output:
  version               of this format: 1
  exit_status           as above
  status                clean, data-failed, deadlocked or blind-control
  seed, runs, size_bytes, elapsed_seconds
  rows[]                one for each scenario, network and stack:
    scenario, network, stack
    role                under-test or control
    threat              data-loss or deadlock: what a bad stack suffers in this scenario
    must_fail, blind    a control that has to fail here, and did not
    verdict             the gravest of ok, deadlock, wrong-error, lost, silent-loss, corrupted
    trials              what the counts below are counted of; a sweep has several for each run
    lost_runs           bytes are missing; silent_loss_runs of them with success reported
    corrupted_runs, deadlocked_runs, wrong_error_runs
    median_lost_bytes   of the lost runs
    first_failure       null, or: trial, class, lost_bytes, detail
    repeat              the command that repeats the row; empty if nothing failed
Fields may be added; none is renamed or removed within a version.`

// Exit statuses by the report's status.
var tortureExit = map[torture.Status]int{
	torture.Clean:        0,
	torture.DataFailed:   2,
	torture.Deadlocked:   3,
	torture.BlindControl: 4,
}

// tortureFlags are the flags of the command as the user gave them.
type tortureFlags struct {
	runs      int
	size      byteSize
	scenarios []string
	stacks    []string
	networks  []string
	seed      uint64
	json      bool
}

func newTortureCommand() *cobra.Command {
	flags := tortureFlags{size: 1 << 20}
	cmd := &cobra.Command{
		Use:     "torture",
		Short:   "Make TLS stacks lose data and deadlock, if they can",
		Long:    longHelp(),
		Example: "  tlsstream torture\n  tlsstream torture --scenario upload --network tcp --size 8MiB --runs 50",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				flags.seed = uint64(rand.Uint32())
			}
			return runTorture(cmd, &flags)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&flags.runs, "runs", 30, "how often to run each scenario for each stack and network")
	f.Var(&flags.size, "size", "length of an upload, such as 65536, 64KiB or 1MiB")
	f.StringSliceVar(&flags.scenarios, "scenario", nil, "scenarios to run, separated by commas (default all)")
	f.StringSliceVar(&flags.stacks, "stack", nil, "stacks to run: "+strings.Join(names(torture.Stacks(), stackName), ", ")+" (default all)")
	f.StringSliceVar(&flags.networks, "network", nil, "networks to run on (default all)")
	f.Uint64Var(&flags.seed, "seed", 0, "seed of all that is chosen at random (default a new one)")
	f.BoolVar(&flags.json, "json", false, "print one JSON document instead of text")
	return cmd
}

func runTorture(cmd *cobra.Command, flags *tortureFlags) error {
	plan, err := flags.plan()
	if err != nil {
		return err
	}
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	header := stdout
	if flags.json {
		header = stderr
	}
	fmt.Fprintf(header, "tlsstream torture --seed %d --runs %d --size %v (%s %s/%s)\n\n",
		flags.seed, flags.runs, flags.size, runtime.Version(), runtime.GOOS, runtime.GOARCH)

	progress := newProgress(stderr)
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
	if flags.json {
		err = writeJSON(stdout, flags, report)
	} else {
		err = writeText(stdout, flags, report)
	}
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	if status := tortureExit[report.Status]; status != 0 {
		return exitStatus(status)
	}
	return nil
}

// plan checks the flags. The stdlib stack is a control, unless it is alone.
func (flags *tortureFlags) plan() (torture.Plan, error) {
	plan := torture.Plan{Runs: flags.runs, SizeBytes: int64(flags.size), Seed: flags.seed}
	if flags.runs < 1 {
		return plan, &usageError{fmt.Sprintf("--runs %d is less than one", flags.runs), "choose at least 1"}
	}
	var err error
	if plan.Scenarios, err = choose("scenario", flags.scenarios, torture.Scenarios(), scenarioName); err != nil {
		return plan, err
	}
	if plan.Networks, err = choose("network", flags.networks, torture.Networks(), networkName); err != nil {
		return plan, err
	}
	stacks, err := choose("stack", flags.stacks, torture.Stacks(), stackName)
	if err != nil {
		return plan, err
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
		for _, o := range s.On {
			on = append(on, o.Network)
		}
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

func longHelp() string {
	var scenarios, networks strings.Builder
	for _, s := range torture.Scenarios() {
		fmt.Fprintf(&scenarios, "  %-19s %s\n", s.Name, s.About)
	}
	for _, n := range torture.Networks() {
		fmt.Fprintf(&networks, "  %-19s %s\n", n.Name, n.About)
	}
	return fmt.Sprintf(tortureHelp, &scenarios, &networks,
		tortureExit[torture.DataFailed], tortureExit[torture.Deadlocked], tortureExit[torture.BlindControl], exitError, exitInterrupted)
}
