package torture

import (
	"context"
	"fmt"
	"strings"
)

// A Played is a case that has been played.
type Played struct {
	Case    Case    `json:"case"`
	Verdict Verdict `json:"verdict"`

	// Client and Server say what either side did and was told. Both are zero if a side never returned, or if the
	// scenario is more than a script for each side.
	Client Told `json:"client"`
	Server Told `json:"server"`

	// Transcript is what happened on the wire; nil if nobody watched.
	Transcript Transcript `json:"transcript,omitempty"`
}

// Told is what one side of a run learned of it.
type Told struct {
	SentBytes     int64  `json:"sent_bytes"`     // that Write accepted
	ReceivedBytes int64  `json:"received_bytes"` // that Read returned, up to the first wrong one
	EndOfStream   bool   `json:"end_of_stream"`  // Read returned io.EOF
	Error         string `json:"error"`          // the first failure; empty if all went well
}

func (t told) exported() Told {
	out := Told{SentBytes: t.sent, ReceivedBytes: t.received, EndOfStream: t.ended}
	if t.err != nil {
		out.Error = t.err.Error()
	}
	return out
}

// Replay plays a case with the scenarios, networks and stacks built in.
func Replay(ctx context.Context, c Case) (*Played, error) {
	return Plan{Stacks: append(Stacks(), NamedStacks()...)}.Replay(ctx, c)
}

// Replay plays exactly one case with the scenarios, networks and stacks of the plan, whose other fields do not matter.
func (p Plan) Replay(ctx context.Context, c Case) (*Played, error) {
	if err := p.complete(); err != nil {
		return nil, err
	}
	scenario, network, stack, err := p.lookUp(c)
	if err != nil {
		return nil, err
	}
	played, _, err := play(ctx, c, scenario, network, stack)
	return played, err
}

// play plays a case alone. repeatable says that it would end the same again.
func play(ctx context.Context, c Case, scenario *Scenario, network *Network, stack *Stack) (played *Played, repeatable bool, err error) {
	id, err := newIdentity(c.Seed)
	if err != nil {
		return nil, false, err
	}
	t, err := c.trial(scenario, network, stack, id)
	if err != nil {
		return nil, false, err
	}
	watch := newLeakWatch()
	t.label = watch.label(c)
	var programs workshop
	defer programs.close()
	t.workshop = &programs
	out, err := t.run(ctx)
	if err != nil {
		t.forget()
		return nil, false, err
	}
	transcript := t.transcript()
	if !out.abandoned && out.verdict.Class < LeakedGoroutine {
		for _, left := range watch.leaks(ctx) {
			out.verdict = left.verdict
		}
	}
	c.Program = t.program
	played = &Played{Case: c, Verdict: out.verdict, Client: out.client.exported(), Server: out.server.exported(), Transcript: transcript}
	return played, out.repeatable, nil
}

// lookUp finds what the names of a case stand for, in a plan that is complete.
func (p *Plan) lookUp(c Case) (scenario *Scenario, network *Network, stack *Stack, err error) {
	scenario, err = named("scenario", c.Scenario, p.Scenarios, func(s *Scenario) string { return s.Name })
	if err != nil {
		return nil, nil, nil, err
	}
	network, err = named("network", c.Network, p.Networks, func(n *Network) string { return n.Name })
	if err != nil {
		return nil, nil, nil, err
	}
	stack, err = named("stack", c.Stack, append(p.Stacks, p.Controls...), func(s *Stack) string { return s.Name })
	return scenario, network, stack, err
}

func named[T any](kind, name string, all []T, nameOf func(*T) string) (*T, error) {
	var known []string
	for i := range all {
		if nameOf(&all[i]) == name {
			return &all[i], nil
		}
		known = append(known, nameOf(&all[i]))
	}
	return nil, fmt.Errorf("torture: no %s %q, only %s", kind, name, strings.Join(known, ", "))
}
