package torture

import (
	"math/rand/v2"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// A Network makes transports.
type Network struct {
	// Name stands in reports, and in the scenarios that run on the network.
	Name string

	// About describes the network in one line.
	About string

	// StallAfter is how long nothing must move before a run counts as a deadlock. A connection that is merely slow
	// has to be quicker than that at its slowest.
	StallAfter time.Duration

	// Floor is the least speed of a good stack here, in bytes of a plan's SizeBytes per second. A run that ends well but
	// takes longer, and ten seconds more than that, is slow. If zero, 64 KiB.
	Floor int64

	// RunsPerTrial is how many runs of a plan one trial stands for, since it takes so much longer than elsewhere; 1 if zero.
	RunsPerTrial int

	// MaxSizeBytes is the most that a run transfers here, whatever the plan's SizeBytes; no limit if zero.
	MaxSizeBytes int64

	// Dial makes a connected pair. If a transport has a method Heal(), it has faults, and Heal switches them off: a run
	// in which nothing moves any more is healed, and must then go on.
	Dial func(seed uint64) (client, server net.Conn, err error)

	// sendBuffer is the size in bytes of the send buffers, if the network is a membio.Pipe.
	sendBuffer int

	// resized, if not nil, returns the same network with buffers of other sizes in bytes.
	resized func(sendBuffer, receiveBuffer int) Network
}

const (
	// Nothing delays a pipe but the scheduler.
	pipeStall = 400 * time.Millisecond

	// A TCP sender that has missed a window update asks again after 200 ms, then after 400 (RFC 9293 3.8.6.1).
	tcpStall = time.Second

	// With the smallest buffers some segments are dropped for their overhead, and are sent again after 200 ms, 400 ms
	// and so on.
	minTCPStall = 4 * time.Second
)

// smallTCPBuffer is for SO_SNDBUF and SO_RCVBUF; Linux doubles it. The smallest that Linux allows, 2304 for receiving, is
// too small: on a busy machine a segment then often exceeds the buffer with its overhead and is dropped, and the
// connection crawls from one window probe to the next, some hundred bytes a second, without being blocked.
const smallTCPBuffer = 4096

// leastTCPBuffer gives the smallest send buffer that Linux allows, 4608 bytes, and a receive buffer of 4096.
const leastTCPBuffer = 2 << 10

// crawlingFloor is for networks where, on a busy machine, TCP drops segments and goes on from probe to probe.
const crawlingFloor = 4 << 10

// The pipes' buffers hold less than the ticket of scenario huge-ticket and the answers of key-update-flood, and more
// than a whole handshake.
const (
	pipeSendBuffer    = 16 << 10
	pipeReceiveBuffer = 8 << 10
	pipeSegment       = 1460 // the payload of one Ethernet frame
)

// Networks returns the networks built in.
func Networks() []Network {
	buffered := membio.PipeSide{SendBuffer: pipeSendBuffer, ReceiveBuffer: pipeReceiveBuffer, MaxSegment: pipeSegment}
	strict := membio.PipeOptions{A: buffered, B: buffered, RSTDiscardsReceived: true}
	return []Network{
		{
			Name:       "tcp",
			About:      "kernel TCP on 127.0.0.1 with the buffers that the system gives",
			StallAfter: tcpStall,
			Dial:       func(uint64) (net.Conn, net.Conn, error) { return dialTCP(0, 0) },
		},
		{
			Name:         "tcp-small",
			RunsPerTrial: 3,
			Floor:        crawlingFloor,
			About:        "kernel TCP on 127.0.0.1 with small buffers, SO_SNDBUF and SO_RCVBUF of 4096 bytes",
			StallAfter:   tcpStall,
			Dial:         func(uint64) (net.Conn, net.Conn, error) { return dialTCP(smallTCPBuffer, smallTCPBuffer) },
		},
		{
			Name:         "tcp-sweep",
			Floor:        crawlingFloor,
			About:        "kernel TCP on 127.0.0.1; the seed chooses either buffer, from 2 to 32 KiB",
			StallAfter:   minTCPStall,
			MaxSizeBytes: 32 << 10,
			Dial: func(seed uint64) (net.Conn, net.Conn, error) {
				random := rand.New(rand.NewPCG(seed, 0))
				size := func() int { return leastTCPBuffer << random.IntN(5) }
				return dialTCP(size(), size())
			},
		},
		pipe(Network{
			Name:  "pipe-strict",
			About: "in memory; a reset discards what was received and not yet read, as RFC 1122 allows",
		}, strict),
		pipe(Network{
			Name:  "pipe-linux",
			About: "in memory; a reset discards only what its sender had not sent yet, as Linux does",
		}, membio.PipeOptions{A: buffered, B: buffered}),
		pipe(Network{
			Name:  "lockstep",
			About: "in memory, without any buffer: a write lasts until the peer has read it",
		}, membio.PipeOptions{}),
		segments(Network{
			Name:         "segments",
			About:        "as pipe-strict, in segments of which the seed chooses the most: 1 to 256 bytes",
			MaxSizeBytes: 128 << 10,
		}, strict),
		faulty(Network{
			Name:         "trickle",
			About:        "as pipe-strict; a read or write moves one byte at a time",
			MaxSizeBytes: 48 << 10,
		}, strict, func(conn *faultConn, _ *rand.Rand) {
			conn.trickle = true
		}),
		faulty(Network{
			Name:  "clogged",
			About: "as pipe-strict; now and then a direction accepts nothing until the peer waits, has done a few calls, or nothing moves",
		}, strict, func(conn *faultConn, random *rand.Rand) {
			conn.clog = newBlockage(random.Uint64(), random.Uint64())
		}),
		grantedNetwork(),
		delayed(),
	}
}

// pipe completes a network whose transports are pipes with the given options.
func pipe(n Network, options membio.PipeOptions) Network {
	n.StallAfter = pipeStall
	n.sendBuffer = options.A.SendBuffer
	if n.sendBuffer > 0 {
		n.resized = func(send, receive int) Network {
			options := options
			options.A.SendBuffer, options.A.ReceiveBuffer = send, receive
			options.B.SendBuffer, options.B.ReceiveBuffer = send, receive
			return pipe(n, options)
		}
	}
	n.Dial = func(seed uint64) (net.Conn, net.Conn, error) {
		options := options
		options.Seed = seed
		client, server := membio.Pipe(options)
		return client, server, nil
	}
	return n
}

// maxSmallSegment is the largest segment of network segments, in bytes.
const maxSmallSegment = 256

// segments completes a network whose transports are pipes with segments of which the seed chooses the largest.
func segments(n Network, options membio.PipeOptions) Network {
	n.StallAfter = pipeStall
	n.sendBuffer = options.A.SendBuffer
	n.Dial = func(seed uint64) (net.Conn, net.Conn, error) {
		random := rand.New(rand.NewPCG(seed, 0))
		options := options
		options.Seed = seed
		options.A.MaxSegment = 1 + random.IntN(maxSmallSegment)
		options.B.MaxSegment = 1 + random.IntN(maxSmallSegment)
		client, server := membio.Pipe(options)
		return client, server, nil
	}
	return n
}

// faulty completes a network whose transports are pipes with faults, which follow from the seed.
func faulty(n Network, options membio.PipeOptions, spoil func(*faultConn, *rand.Rand)) Network {
	n.StallAfter = pipeStall
	n.sendBuffer = options.A.SendBuffer
	n.Dial = func(seed uint64) (net.Conn, net.Conn, error) {
		random := rand.New(rand.NewPCG(seed, 0))
		options := options
		options.Seed = seed
		client, server := newFaultPipe(options)
		spoil(client, random)
		spoil(server, random)
		return client, server, nil
	}
	return n
}
