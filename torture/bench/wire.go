package bench

import (
	"fmt"
	"time"
)

// The conductor, which is the process that calls Run, tells endpoints what to do on their standard input, a line for
// each request, and they answer on their standard output, a JSON object for each. An endpoint serves its requests one
// after the other and ends with its standard input. The endpoint in C speaks the same.

type operation string

const (
	// opListen has a server listen for a lane. The answer has the port.
	opListen operation = "listen"

	// opAccept and opDial make so many more connections of a lane.
	opAccept operation = "accept"
	opDial   operation = "dial"

	// opTerminate has a process carry TLS connections to a port, as StockProxy does. The answer has the port.
	opTerminate operation = "terminate"

	// opRun has a client play its part of a slice. The answer comes when it has.
	opRun operation = "run"

	// opStart has a server begin its part of a slice; opFinish waits for its end.
	opStart  operation = "start"
	opFinish operation = "finish"

	// opIdle has all connections of a lane be read from. A server from then on answers each r.size bytes with as many.
	opIdle operation = "idle"

	// opExchange has a client send r.size bytes and receive as many, on the next r.conns connections of an idle lane.
	opExchange operation = "exchange"

	// opMemory asks for the memory in use after a garbage collection.
	opMemory operation = "memory"

	// opDrop closes a lane's connections and its listener.
	opDrop operation = "drop"
)

// A kind is what a slice does with its connections.
type kind string

const (
	// oneWay: the client writes messages, and the server one byte when it has read all.
	oneWay kind = "one-way"

	// pingPong: each message is sent back before the next.
	pingPong kind = "ping-pong"

	// handshakeFull and handshakeResumed: a connection for each message, on which the server writes one byte.
	handshakeFull    kind = "handshake-full"
	handshakeResumed kind = "handshake-resumed"

	// idle has no slices: see opIdle.
	idle kind = "idle"
)

func (k kind) isHandshake() bool { return k == handshakeFull || k == handshakeResumed }

// A request is one line, with all fields, so that any language can read it.
type request struct {
	op    operation
	lane  int
	kind  kind
	stack string
	port  int
	conns int
	size  int   // bytes of a message
	count int64 // messages on each connection
}

const requestFormat = "%s %d %s %s %d %d %d %d\n"

func (r request) String() string {
	// A field must not be empty.
	if r.kind == "" {
		r.kind = "-"
	}
	if r.stack == "" {
		r.stack = "-"
	}
	return fmt.Sprintf(requestFormat, r.op, r.lane, r.kind, r.stack, r.port, r.conns, r.size, r.count)
}

func parseRequest(line string) (request, error) {
	var r request
	_, err := fmt.Sscanf(line, requestFormat, &r.op, &r.lane, &r.kind, &r.stack, &r.port, &r.conns, &r.size, &r.count)
	return r, err
}

// A reply answers a request. Fields that do not belong to it are zero.
type reply struct {
	Error string        `json:"error,omitempty"`
	Port  int           `json:"port,omitempty"`
	Wall  time.Duration `json:"wall,omitempty"`
	usage
	memory
}

// usage is what a process used in a slice.
type usage struct {
	CPU     time.Duration `json:"cpu,omitempty"`
	Mallocs uint64        `json:"mallocs,omitempty"` // only of handshakes
	Bytes   uint64        `json:"bytes,omitempty"`   // allocated; only of handshakes
}

// memory is what a process holds.
type memory struct {
	Heap  uint64 `json:"heap,omitempty"`
	Stack uint64 `json:"stack,omitempty"`
}
