package main

import (
	"fmt"
	"strings"

	"github.com/deferredtls/deferredtls/torture"
)

const runHelpText = `Torture plays uploads and other exchanges against TLS stacks, over kernel TCP and
over in-memory pipes with TCP's rules, and counts what is lost and who blocks.

The stack "stdlib" is stock crypto/tls, and runs as a control: where TLS writes out of
turn it has to fail, and a row where it must and does not is blind and proves nothing.
If it is the only stack chosen, it is the one under test.

What failed is made as small as it can be, and printed with the command that plays it
again. The seed and all knobs are printed first.

Scenarios, which "tlsstream torture list" describes:
%s

Networks:
%s

Stacks, tlsstream-writebehind, tlsstream-own and those of utls only if they are named:
%s

Exit status, the first that applies:
%s
With --json the result is one JSON document on standard output:
  version               of this format: 2
  exit_status           as above
  status                clean, blind-control, deadlocked, or the verdict that the exit status stands for
  seed, runs, size_bytes, elapsed_seconds
  rounds                how often a soak has played its scenarios; else 1
  trials                all runs; undetermined_runs of them could not be judged, since plain TCP
                        has no single outcome there
  rows[]                one for each scenario, network and stack:
    scenario, network, stack
    role                under-test or control
    threat              data-loss, deadlock or another harm that a bad stack suffers in this scenario
    must_fail, blind    a control that has to fail here, and did not
    control_passes      a control is right to pass here
    verdict             the gravest of ok, %s
    counts              how many trials ended in each class of verdict
    trials              what the counts are counted of; a sweep has several for each run
    lost_runs           bytes are missing; silent_loss_runs of them with success reported
    corrupted_runs, deadlocked_runs, wrong_error_runs, undetermined_runs
    median_lost_bytes   of the lost runs
    reason              why a row that did not fail is not ok; left out elsewhere
    first_failure       null, or: trial, class, lost_bytes, detail, stacks (of goroutines, where
                        a run had to be stopped), case (its ID), reduced (null, or that of a
                        smaller case that fails in the same way)
    repeat              the command that plays the first failure again; empty if nothing failed
Fields may be added; none is renamed or removed within a version. (Version 1 had no class but
data-failed for what is lost, corrupted or wrongly reported, and repeat repeated the row.)`

func runHelp() string {
	return fmt.Sprintf(runHelpText,
		indented(names(torture.Scenarios(), scenarioName)),
		indented(names(torture.Networks(), networkName)),
		indented(names(allStacks(), stackName)),
		exitHelp(), classList())
}

// helpWidth is how wide a terminal is at least.
const helpWidth = 80

// indented lists names in lines of their own.
func indented(names []string) string {
	const indent = "  "
	var text strings.Builder
	line := indent
	for i, name := range names {
		if i < len(names)-1 {
			name += ","
		}
		if len(line)+len(name) >= helpWidth {
			fmt.Fprintln(&text, strings.TrimRight(line, " "))
			line = indent
		}
		line += name + " "
	}
	fmt.Fprint(&text, strings.TrimRight(line, " "))
	return text.String()
}

// classList names the classes from the mildest to the gravest, as a sentence does.
func classList() string {
	var list []string
	for class := torture.OK + 1; class <= torture.Corrupted; class++ {
		list = append(list, class.String())
	}
	return strings.Join(list, ", ")
}
