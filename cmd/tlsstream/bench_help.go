package main

import (
	"fmt"

	"github.com/deferredtls/deferredtls/torture/bench"
)

// benchVersion is that of the JSON document of bench.
const benchVersion = 1

const benchHelpText = `Bench measures TLS stacks against stock crypto/tls, the stack "stdlib", between two
processes on this machine.

Whole runs of one program differ by a quarter, so nothing here compares runs: connections of all
stacks stay open side by side, and each slice of about 30 ms of a stack is played between two of
stdlib. The ratio of a round is the stack's rate to the mean rate of those two. Printed is the
median of blocks of five rounds, with the least and the greatest block. Stock crypto/tls over
connections of its own is measured as the stacks are: how far this control is from 1 is what a
ratio may be off for no reason.

Processor time is that of each process in its slices. On Linux, client and server have a half of
the cores each, unless --any-core is given: with two cores a process is on one, and Go
programs run on one thread.

Scenarios, and groups of them, which "tlsstream bench list" describes:
%s

Stacks, which play all scenarios but those of the group terminator; openssl plays some:
%s

Terminators, which play that group; --stack names them, too:
%s

Exit status:
  %3d  a stack failed in a scenario
  %3d  wrong usage, or an internal error
  %3d  interrupted; what there was until then is printed
    0  none of these

With --json the result is one JSON document on standard output:
  version               of this format: %d
  exit_status           as above
  machine               goos, goarch, go (its version), cpu (model), cores, load (averages at the start)
  rounds, slice_ns, any_core
                        as asked for
  elapsed_ns, interrupted
  notes[]               where something is not as asked for
  rows[]                one for each scenario, number of connections and stack:
    scenario, connections, stack
    side                both, or the end that is the stack's: client or server; the other is stdlib
    role                baseline, control or variant
    rounds              that were played
    error               why it is not all of them; empty if it is
    ratio               median, min and max of the blocks; 0 of the baseline. Of rates, more is
                        faster; of memory, which has no rounds, less is lighter
    cpu_ratio           the same of the processor time of both ends for a unit: less is cheaper
    unit                what rate counts, a second, and processor time is told for
    rate, client_cpu_ns, server_cpu_ns
                        medians of the slices; 0 if unknown
    allocations         only of handshakes: client, client_bytes, server, server_bytes of one
    memory              only of idle connections: client_heap, client_stack, server_heap,
                        server_stack of one, in bytes
Fields may be added; none is renamed or removed within a version.`

func benchHelp() string {
	var scenarios []string
	group := ""
	for _, s := range bench.Scenarios() {
		if s.Group != group {
			group = s.Group
			scenarios = append(scenarios, group)
		}
		scenarios = append(scenarios, s.Name)
	}
	return fmt.Sprintf(benchHelpText, indented(scenarios), indented(names(benchStacks(), benchStackName)),
		indented(names(benchTerminators(""), terminatorName)), exitStackFailed, exitError, exitInterrupted, benchVersion)
}

// A benchDocument is what --json prints.
type benchDocument struct {
	Version    int `json:"version"`
	ExitStatus int `json:"exit_status"`
	*bench.Report
}
