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

	// Threat is what a stack that fails suffers.
	Threat Threat

	// On lists the networks where the scenario tells a good stack from a bad one.
	On []On

	// TrialsPerRun is how many trials one run of a plan stands for; 1 if zero. A sweep has more.
	TrialsPerRun int

	slowReader     bool // of the server
	ofClient       bool // the client alone is under test, and never reads
	setup          func(*trial)
	client, server func(*side) error

	// dial, if not nil, makes the transports in place of the network.
	dial func(context.Context, *trial) (client, server net.Conn, err error)

	// oracle judges the run; allArrives if nil.
	oracle oracle

	// play, if not nil, is the whole run: it replaces the scripts and the oracle.
	play func(context.Context, *trial) (Verdict, error)
}

// A Threat is the kind of harm that a scenario provokes.
type Threat string

const (
	DataLoss Threat = "data-loss"
	Blocking Threat = "deadlock"
)

// On is a network that a scenario runs on.
type On struct {
	Network string

	// MinSize is the size in bytes from which stock crypto/tls fails there in nearly every run. In a plan of a smaller
	// size its failure is not demanded.
	MinSize int64
}

// Scenarios returns the scenarios built in.
func Scenarios() []Scenario {
	return append([]Scenario{
		upload(),
		uploadFastReader(),
		uploadClientCert(),
		uploadLateTicket(),
		uploadUTLS(),
		uploadKeyUpdate(),
		keyUpdateFlood(),
		hugeTicket(),
		lockstepHandshake(),
	}, programScenarios()...)
}
