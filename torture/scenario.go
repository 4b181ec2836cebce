package torture

import (
	"context"
	"net"
)

// A Scenario is a pair of scripts, one for each side. The oracle that judges them is the same for all: what one side
// sent must arrive at the other, and nobody may be told of a failure, or wait for ever.
type Scenario struct {
	// Name selects the scenario and stands in reports.
	Name string

	// About describes the scenario in one line.
	About string

	// Reports are the upstream reports of the fault that it reproduces, such as "curl/curl#6149".
	Reports []string

	// Threat is what a stack that fails suffers.
	Threat Threat

	// On lists the networks where the scenario tells a good stack from a bad one.
	On []On

	// TrialsPerRun is how many trials one run of a plan stands for; 1 if zero. A sweep has more.
	TrialsPerRun int

	// RunsPerTrial is the opposite, for a scenario that is costly: how many runs of a plan one trial stands for; 1 if zero.
	RunsPerTrial int

	random         bool // a soak repeats it with new seeds; if a plan has no such scenario, a soak repeats all
	slowReader     bool // of the server
	ofClient       bool // the client alone is under test, and never reads
	setup          func(*trial)
	client, server func(*side) error

	// dial, if not nil, makes the transports in place of the network.
	dial func(context.Context, *trial) (client, server net.Conn, err error)

	// oracle judges the run; allArrives if nil.
	oracle oracle

	// shrink, if not nil, returns programs that are a little smaller than one that fails, the smallest first.
	shrink func(program string) []string

	// play, if not nil, is the whole run: it replaces the scripts and the oracle.
	play func(context.Context, *trial) (Verdict, error)
}

// A Threat is the kind of harm that a scenario provokes.
type Threat string

const (
	DataLoss    Threat = "data-loss"
	Blocking    Threat = "deadlock"
	FalseReport Threat = "false-report" // a side is told of success or failure, and the opposite is true
)

// On is a network that a scenario runs on.
type On struct {
	Network string

	// MinSize is the size in bytes from which stock crypto/tls fails there in nearly every run. In a plan of a smaller
	// size its failure is not demanded.
	MinSize int64

	// ControlPasses is set where stock crypto/tls is right to pass: there the scenario finds no fault of it, but sees
	// to it that the stack under test does no worse.
	ControlPasses bool
}

// on lists networks where stock crypto/tls fails in plans of at least minSize bytes.
func on(minSize int64, networks ...string) []On {
	var list []On
	for _, name := range networks {
		list = append(list, On{Network: name, MinSize: minSize})
	}
	return list
}

// alsoOn lists networks where stock crypto/tls passes.
func alsoOn(networks ...string) []On {
	var list []On
	for _, name := range networks {
		list = append(list, On{Network: name, ControlPasses: true})
	}
	return list
}

// Scenarios returns the scenarios built in.
func Scenarios() []Scenario {
	return append([]Scenario{
		upload(),
		uploadFastReader(),
		uploadNoCloseNotify(),
		uploadClientCert(),
		uploadLateTicket(),
		resumeThenUpload(),
		tlsOverTLS(),
		uploadUTLS(),
		uploadKeyUpdate(),
		keyUpdateFlood(),
		keyUpdateBothSides(),
		hugeTicket(),
		manyTickets(),
		requestThenResponse(),
		earlyResponse(),
		earlyClose(),
		pingPong(),
		bothWriteFirst(),
		halfClose(),
		closeRace(),
		download(),
		abortMidDownload(),
		truncatedDownload(),
		truncatedRecord(),
		vanishAtByte(),
		readDeadline(),
		writeDeadline(),
		lockstepHandshake(),
		limitCloseNotify(),
		limitRecord(),
		randomOps(),
	}, programScenarios()...)
}
