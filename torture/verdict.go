package torture

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// A Class says how a run ended. The classes are in order of gravity.
type Class int

const (
	OK              Class = iota
	Skipped               // it cannot run on this machine
	Undetermined          // plain TCP has no single outcome here, so nothing was judged
	Slow                  // all ended well, but slower than the network's floor
	LeakedGoroutine       // all ended well, but a goroutine of the stack was left behind
	WrongError            // every byte arrived, and yet a side was told of a failure, or was not told of one
	HungClose             // Close did not return within its bound
	Deadlock              // no side made progress any more
	Lost                  // bytes are missing, and the sender was told of a failure
	SilentLoss            // bytes are missing, and a side was told that all went well
	Reordered             // bytes arrived out of their order
	Corrupted             // bytes arrived that were not sent
)

var classNames = [...]string{
	OK:              "ok",
	Skipped:         "skipped",
	Undetermined:    "undetermined",
	Slow:            "slow",
	LeakedGoroutine: "leaked-goroutine",
	WrongError:      "wrong-error",
	HungClose:       "hung-close",
	Deadlock:        "deadlock",
	Lost:            "lost",
	SilentLoss:      "silent-loss",
	Reordered:       "reordered",
	Corrupted:       "corrupted",
}

// String returns the name that reports use, such as "silent-loss".
func (c Class) String() string { return classNames[c] }

// MarshalText returns the same as String.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// A Verdict is the end of one run.
type Verdict struct {
	Class     Class `json:"class"`
	LostBytes int64 `json:"lost_bytes"` // of Lost and SilentLoss: bytes that Write accepted and the peer never read

	// Detail tells in one line what either side was told, or where it waited. It is empty after an OK.
	Detail string `json:"detail"`

	// Stacks are the goroutine stacks of both sides where a run had to be stopped or left goroutines behind.
	Stacks string `json:"stacks,omitempty"`
}

// String returns class and detail in one line.
func (v Verdict) String() string {
	if v.Detail == "" {
		return v.Class.String()
	}
	return v.Class.String() + ": " + v.Detail
}

// told is what one side of a run learned of it: nothing that its application would not see.
type told struct {
	sent      int64 // bytes that Write accepted
	received  int64 // bytes that Read returned, up to the first wrong one
	corrupted bool  // the byte after those is not the one that the peer sent
	ended     bool  // Read returned io.EOF
	err       error // the first failure; nil if all went well
}

// An oracle judges a run whose scripts both returned, and in which no wrong byte arrived.
type oracle func(client, server told) Verdict

// judge applies the oracle, after what no scenario allows. stuck says who waited where if the run had to be stopped.
func judge(client, server told, stuck string, of oracle) Verdict {
	var wrong []string
	for _, side := range []struct {
		name string
		told
	}{{"server", server}, {"client", client}} {
		if side.corrupted {
			wrong = append(wrong, fmt.Sprintf("the %s read a wrong byte at offset %d", side.name, side.received))
		}
	}
	switch {
	case wrong != nil:
		return Verdict{Class: Corrupted, Detail: strings.Join(wrong, "; ")}
	case stuck != "":
		return Verdict{Class: Deadlock, Detail: stuck}
	}
	return of(client, server)
}

// allArrives is the oracle of most scenarios: what each side sent the other received, and nobody was told of a failure.
func allArrives(client, server told) Verdict {
	upLost := client.sent - server.received
	downLost := server.sent - client.received
	var tale []string
	add := func(format string, args ...any) { tale = append(tale, fmt.Sprintf(format, args...)) }
	verdict := func(class Class, lost int64) Verdict {
		return Verdict{Class: class, LostBytes: lost, Detail: strings.Join(tale, "; ")}
	}

	switch {
	case upLost > 0 || downLost > 0:
		class := Lost
		if upLost > 0 {
			add("the server read %d of %d bytes, then %s", server.received, client.sent, outcome(server.err))
			add("the client was told %s", outcome(client.err))
		}
		if downLost > 0 {
			add("the client read %d of %d bytes, then %s", client.received, server.sent, outcome(client.err))
			add("the server was told %s", outcome(server.err))
		}
		if upLost > 0 && client.err == nil || downLost > 0 && server.err == nil {
			class = SilentLoss
		}
		return verdict(class, upLost+downLost)

	case client.err != nil || server.err != nil:
		add("every byte arrived")
		add("the client was told %s", outcome(client.err))
		add("the server was told %s", outcome(server.err))
		return verdict(WrongError, 0)
	}
	return Verdict{}
}

// outcome words what a side was told.
func outcome(err error) string {
	if err == nil {
		return "success"
	}
	return fmt.Sprintf("%q", err)
}

// stepError is a failure with the step of the script that met it. A net.OpError repeats the step, and its addresses
// differ from run to run, so only its cause is kept.
func stepError(step string, err error) error {
	if op, ok := err.(*net.OpError); ok {
		err = op.Err
	}
	if call, ok := err.(*os.SyscallError); ok {
		err = call.Err
	}
	return fmt.Errorf("%s: %w", step, err)
}
