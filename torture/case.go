package torture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"
)

// A Case is one trial, completely: whoever plays it again over a pipe sees the same verdict.
type Case struct {
	Scenario, Network, Stack string

	// Size is the length of an upload in bytes.
	Size int64

	// Seed is the seed of the plan, and Trial, counted from zero, the place of the trial among the Of trials that the
	// plan plays of this scenario.
	Seed  uint64
	Trial int
	Of    int

	// SendBuffer and ReceiveBuffer, in bytes, replace those of the network. If both are zero, it keeps its own.
	SendBuffer, ReceiveBuffer int

	// Program is what a scenario plays that plays programs. If it is empty, it makes one from the seed.
	Program string
}

// maxCaseID bounds what ParseCase takes: a program may be long, but a command line is not.
const maxCaseID = 64 << 10

// maxOf and maxBuffer bound other numbers of a case: nothing that is computed from them overflows.
const (
	maxOf     = 1 << 40
	maxBuffer = 1 << 30
)

// String returns the case's ID, which is one word of a shell and what ParseCase reads.
func (c Case) String() string {
	var id strings.Builder
	fmt.Fprintf(&id, "%s:%s:%s:size=%d:seed=%d:trial=%d/%d",
		escape(c.Scenario), escape(c.Network), escape(c.Stack), c.Size, c.Seed, c.Trial, c.Of)
	if c.SendBuffer != 0 || c.ReceiveBuffer != 0 {
		fmt.Fprintf(&id, ":buffers=%d/%d", c.SendBuffer, c.ReceiveBuffer)
	}
	if c.Program != "" {
		fmt.Fprintf(&id, ":program=%s", escape(c.Program))
	}
	return id.String()
}

// MarshalText returns the same as String.
func (c Case) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseCase.
func (c *Case) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCase(string(text))
	return err
}

// ParseCase reads what Case.String writes.
func ParseCase(id string) (Case, error) {
	fail := func(problem string) (Case, error) {
		return Case{}, fmt.Errorf("torture: bad case: %s; want scenario:network:stack:size=N:seed=N:trial=N/OF", problem)
	}
	if len(id) > maxCaseID {
		return fail(fmt.Sprintf("longer than %d bytes", maxCaseID))
	}
	fields := strings.Split(id, ":")
	if len(fields) < 3 {
		return fail("no scenario, network and stack")
	}
	var c Case
	for i, name := range []*string{&c.Scenario, &c.Network, &c.Stack} {
		var err error
		if *name, err = url.PathUnescape(fields[i]); err != nil || *name == "" {
			return fail(fmt.Sprintf("no name in %q", fields[i]))
		}
	}
	seen := make(map[string]bool)
	for _, field := range fields[3:] {
		key, value, _ := strings.Cut(field, "=")
		if seen[key] {
			return fail(key + " twice")
		}
		seen[key] = true
		var err error
		switch key {
		case "size":
			c.Size, err = strconv.ParseInt(value, 10, 64)
		case "seed":
			c.Seed, err = strconv.ParseUint(value, 10, 64)
		case "trial":
			c.Trial, c.Of, err = parsePair(value)
		case "buffers":
			c.SendBuffer, c.ReceiveBuffer, err = parsePair(value)
		case "program":
			c.Program, err = url.PathUnescape(value)
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return fail(fmt.Sprintf("%q", field))
		}
	}
	switch {
	case c.Size < 1:
		return fail("a size is at least 1")
	case c.Size > maxSizeBytes:
		return fail(fmt.Sprintf("a size is at most %d", int64(maxSizeBytes)))
	case !seen["seed"]:
		return fail("no seed")
	case c.Trial < 0 || c.Trial >= c.Of:
		return fail("no such trial")
	case int64(c.Of) > maxOf:
		return fail("too many trials")
	case seen["buffers"] && (c.SendBuffer < 1 || c.ReceiveBuffer < 1):
		return fail("a buffer has at least one byte")
	case max(c.SendBuffer, c.ReceiveBuffer) > maxBuffer:
		return fail(fmt.Sprintf("a buffer has at most %d bytes", maxBuffer))
	}
	return c, nil
}

func parsePair(text string) (a, b int, err error) {
	first, second, _ := strings.Cut(text, "/")
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	return a, b, errors.Join(errA, errB)
}

// escape leaves what neither a shell nor ParseCase gives a meaning, so that a program remains readable.
func escape(s string) string {
	var out strings.Builder
	for _, b := range []byte(s) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', strings.IndexByte("-._,/+@", b) >= 0:
			out.WriteByte(b)
		default:
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// trialSeed does not depend on the stack: a control meets what the stack under test meets.
func (c Case) trialSeed() uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%d/", c.Scenario, c.Network, c.Trial)
	h.Write(binary.BigEndian.AppendUint64(nil, c.Seed))
	return h.Sum64()
}

// trial makes the trial of a case whose names stand for these.
func (c Case) trial(scenario *Scenario, network *Network, stack *Stack, id *identity) (*trial, error) {
	if c.SendBuffer != 0 {
		if network.resized == nil {
			return nil, fmt.Errorf("torture: the buffers of network %s cannot be changed", network.Name)
		}
		resized := network.resized(c.SendBuffer, c.ReceiveBuffer)
		network = &resized
	}
	return &trial{
		scenario: scenario,
		network:  network,
		stack:    stack,
		seed:     c.trialSeed(),
		index:    c.Trial,
		of:       c.Of,
		size:     c.Size,
		program:  c.Program,
		identity: id,
	}, nil
}
