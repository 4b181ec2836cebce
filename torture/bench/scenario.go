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

	kind kind
	size int // bytes of a message
	many bool
}

// bulkUnit is what processor time in bulk is told for: a full record.
const bulkUnit = 16 << 10

// Scenarios returns all there are.
func Scenarios() []Scenario {
	var all []Scenario
	add := func(s Scenario, sizes ...int) {
		for _, s.size = range sizes {
			s.Name = s.Group + "-" + sizeName(s.size)
			all = append(all, s)
		}
	}
	add(Scenario{Group: "bulk", About: "one direction at full speed, in writes of this size, read in pieces of 64 KiB",
		Unit: "16 KiB", kind: oneWay, many: true}, 4<<10, 16<<10, 64<<10, 256<<10, 1<<20)
	add(Scenario{Group: "one-way", About: "small messages in one direction, a Write each",
		Unit: "message", kind: oneWay}, 100, 1<<10, 4<<10, 16<<10)
	add(Scenario{Group: "ping-pong", About: "a message there and back, one at a time",
		Unit: "round trip", kind: pingPong}, 1, 64, 1<<10, 4<<10)
	return all
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
	if s.Group == "bulk" {
		return float64(messages) * float64(s.size) / bulkUnit
	}
	return float64(messages)
}
