package bench

import (
	"fmt"
	"strconv"
)

// A Scenario is what is measured.
type Scenario struct {
	// Name is its group and the size of a message.
	Name string

	// Group is what it has in common with others that differ only in the size.
	Group, About string

	// Unit is what rates count and what processor time is told for.
	Unit string

	// Terminated says that the server is plain, behind a [Terminator]. No [Stack] plays it.
	Terminated bool

	kind kind
	size int // bytes of a message
	many bool

	growth bool // measured with Plan.Growth connections
}

const (
	// bulkUnit is what rates and processor time in bulk are told for: a full record.
	bulkUnit      = "16 KiB"
	bulkUnitBytes = 16 << 10

	// idleUnit is what memory is told for.
	idleUnit = "connection"
)

// Scenarios returns all there are.
func Scenarios() []Scenario {
	var all []Scenario
	add := func(s Scenario, sizes ...int) {
		for _, s.size = range sizes {
			s.Name = s.Group + "-" + sizeName(s.size)
			all = append(all, s)
		}
	}
	add(Scenario{Group: "bulk", About: "one direction at full speed, in writes of this size, read in pieces of 64 KiB (of 16 KiB with more than 100 connections)",
		Unit: bulkUnit, kind: oneWay, many: true}, 4<<10, 16<<10, 64<<10, 256<<10, 1<<20)
	add(Scenario{Group: "one-way", About: "small messages in one direction, a Write each",
		Unit: "message", kind: oneWay}, 100, 1<<10, 4<<10, 16<<10)
	add(Scenario{Group: "ping-pong", About: "a message there and back, one at a time",
		Unit: "round trip", kind: pingPong}, 1, 64, 1<<10, 4<<10)
	add(Scenario{Group: "terminator", About: "as bulk, through a TLS terminator to a plain sink; the server's time is the terminator's",
		Unit: bulkUnit, kind: oneWay, many: true, Terminated: true}, 16<<10, 64<<10)
	return append(all,
		Scenario{Name: "handshake-full", Group: "handshake", Unit: "handshake", kind: handshakeFull,
			About: "connect, handshake, a byte from the server, which brings the ticket, and close, one at a time"},
		Scenario{Name: "handshake-resumed", Group: "handshake", Unit: "handshake", kind: handshakeResumed,
			About: "the same, with the ticket of the connection before"},
		Scenario{Name: "idle-handshake", Group: "idle", Unit: idleUnit, kind: idle,
			About: "memory of many connections after the handshake, each with a goroutine that reads"},
		Scenario{Name: "idle-1MiB", Group: "idle", Unit: idleUnit, kind: idle, size: 1 << 20,
			About: "the same, after 1 MiB each way on each"},
		Scenario{Name: "growth-speed", Group: "growth", Unit: "round trip", kind: pingPong, size: 1 << 10, growth: true,
			About: "ping-pong of 1 KiB on more and more connections, all at once; five rounds at most"},
		Scenario{Name: "growth-memory", Group: "growth", Unit: idleUnit, kind: idle, size: 64 << 10, growth: true,
			About: "memory of more and more connections, after 64 KiB each way on each"},
	)
}

func sizeName(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return strconv.Itoa(bytes>>20) + "MiB"
	case bytes >= 1<<10:
		return strconv.Itoa(bytes>>10) + "KiB"
	}
	return fmt.Sprintf("%dB", bytes)
}

// units is how many units so many messages are.
func (s *Scenario) units(messages int64) float64 {
	if s.Unit == bulkUnit {
		return float64(messages) * float64(s.size) / bulkUnitBytes
	}
	return float64(messages)
}
