package torture

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// The toys fail from a certain size on. A size just over it is what remains.
func TestReducedCaseIsSmallerAndStillFails(t *testing.T) {
	for _, test := range []struct {
		name    string
		read    func(*toy, []byte) (int, error)
		class   Class
		maxSize int64
	}{
		{"corrupts the byte at 100,000", flipBit, Corrupted, 105_000},
		{"gives up after 100,000", giveUp, Lost, 150_000},
		{"drops the tail", dropTail, SilentLoss, 1},
		{"writes out of turn", writeOutOfTurn, Deadlock, 32 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plan := Plan{
					Stacks:    []Stack{newToy(test.read)},
					Scenarios: scenarioNamed(t, "upload"),
					Networks:  networksNamed(t, "pipe-linux"),
					Runs:      4,
					Reduce:    1,
				}
				report, err := Run(t.Context(), plan)
				if err != nil {
					t.Fatal(err)
				}
				failure := report.Rows[0].FirstFailure
				if failure.Class != test.class || failure.Reduced == nil {
					t.Fatalf("got %+v", failure)
				}
				reduced := failure.Smallest()
				if reduced.Size > test.maxSize || reduced.Of != 1 || reduced.SendBuffer >= pipeSendBuffer {
					t.Errorf("reduced to %v", reduced)
				}
				for range 3 {
					played, err := plan.Replay(t.Context(), reduced)
					if err != nil {
						t.Fatal(err)
					}
					// Where a side gives up, it is a race whether the last Write of the
					// other has returned, and counts as sent.
					raced := test.class == Lost && played.Verdict.Class == WrongError
					if played.Verdict.Class != test.class && !raced {
						t.Errorf("%v ends with %v, want %v", reduced, played.Verdict, test.class)
					}
				}
			})
		})
	}
}

var errToyProgram = errors.New("the toy program fails")

// A toy program is letters: the client sends one byte for each "w" and fails at "x".
func toyPrograms() Scenario {
	s := Scenario{
		Name: "toy-programs",
		On:   []On{{Network: "pipe-linux"}},
		setup: func(t *trial) {
			if t.program == "" {
				t.program = strings.Repeat("w", 40) + "xw"
			}
		},
		client: func(s *side) error {
			if err := uploadOver(s, s.trial.stack.Client(s.transport, s.trial.clientConfig), int64(strings.Count(s.trial.program, "w"))); err != nil {
				return err
			}
			if strings.Contains(s.trial.program, "x") {
				return errToyProgram
			}
			return nil
		},
		server: reader,
		shrink: func(program string) []string {
			var smaller []string
			for n := 1; n < len(program); n *= 2 {
				smaller = append(smaller, program[len(program)-n:], program[:n])
			}
			return smaller
		},
	}
	return s
}

func TestProgramIsReduced(t *testing.T) {
	report, err := Run(t.Context(), Plan{
		Stacks:    []Stack{Tlsstream()},
		Scenarios: []Scenario{toyPrograms()},
		Networks:  networksNamed(t, "pipe-linux"),
		Runs:      2,
		Reduce:    1,
	})
	if err != nil {
		t.Fatal(err)
	}
	failure := report.Rows[0].FirstFailure
	if failure.Class != WrongError || len(failure.Case.Program) != 42 {
		t.Fatalf("got %+v", failure)
	}
	if got := failure.Smallest().Program; got != "x" {
		t.Errorf("reduced to %q", got)
	}
}

func TestReductionIsBounded(t *testing.T) {
	scenario := toyPrograms()
	scenario.shrink = func(program string) []string { return []string{program + "x"} } // never smaller
	network, stack := networksNamed(t, "pipe-linux")[0], Tlsstream()
	c := Case{Scenario: scenario.Name, Network: network.Name, Stack: stack.Name, Size: 1, Of: 1, Program: "x"}
	played := 0
	client := scenario.client
	scenario.client = func(s *side) error {
		played++
		return client(s)
	}
	reduceCase(t.Context(), c, Verdict{Class: WrongError}, &scenario, &network, &stack)
	if played != reduceTries {
		t.Errorf("played %d times, want %d", played, reduceTries)
	}
}

func TestOnlyTheSameDeadlockIsTheSame(t *testing.T) {
	patterns := []string{
		detailPattern(Verdict{Class: Deadlock, Detail: "reads of at most 17 bytes: the client waits in write"}),
		detailPattern(Verdict{Class: Deadlock, Detail: "reads of at most 3 bytes: the client waits in write"}),
		detailPattern(Verdict{Class: Deadlock, Detail: "reads of at most 3 bytes: the client waits in handshake"}),
	}
	if patterns[0] != patterns[1] || slices.Contains(patterns[:2], patterns[2]) {
		t.Errorf("%q", patterns)
	}
}
