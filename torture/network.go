package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
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

	// Dial makes a connected pair.
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
)

// smallTCPBuffer is for SO_SNDBUF and SO_RCVBUF; Linux doubles it. The smallest that Linux allows, 2304 for receiving, is
// too small: on a busy machine a segment then often exceeds the buffer with its overhead and is dropped, and the
// connection crawls from one window probe to the next, some hundred bytes a second, without being blocked.
const smallTCPBuffer = 4096

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
	return []Network{
		{
			Name:       "tcp",
			About:      "kernel TCP on 127.0.0.1 with the buffers that the system gives",
			StallAfter: tcpStall,
			Dial:       func(uint64) (net.Conn, net.Conn, error) { return dialTCP(0) },
		},
		{
			Name:       "tcp-small",
			About:      "kernel TCP on 127.0.0.1 with small buffers, SO_SNDBUF and SO_RCVBUF of 4096 bytes",
			StallAfter: tcpStall,
			Dial:       func(uint64) (net.Conn, net.Conn, error) { return dialTCP(smallTCPBuffer) },
		},
		pipe(Network{
			Name:  "pipe-strict",
			About: "in memory; a reset discards what was received and not yet read, as RFC 1122 allows",
		}, membio.PipeOptions{A: buffered, B: buffered, RSTDiscardsReceived: true}),
		pipe(Network{
			Name:  "pipe-linux",
			About: "in memory; a reset discards only what its sender had not sent yet, as Linux does",
		}, membio.PipeOptions{A: buffered, B: buffered}),
		pipe(Network{
			Name:  "lockstep",
			About: "in memory, without any buffer: a write lasts until the peer has read it",
		}, membio.PipeOptions{}),
		grantedNetwork(),
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

// dialTCP connects two sockets whose send and receive buffers have the given size in bytes, or the system's own if it is
// zero. The sizes must be set before the connection is made: the first window follows from them.
func dialTCP(buffer int) (client, server net.Conn, err error) {
	control := func(_, _ string, c syscall.RawConn) error {
		if buffer == 0 {
			return nil
		}
		var failed error
		err := c.Control(func(fd uintptr) { failed = setBuffers(fd, buffer) })
		return errors.Join(err, failed)
	}
	config := net.ListenConfig{Control: control}
	ln, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("torture: no loopback listener: %w", err)
	}
	defer ln.Close()
	dialer := net.Dialer{Control: control}
	client, err = dialer.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, fmt.Errorf("torture: no loopback connection: %w", err)
	}
	server, err = ln.Accept()
	if err != nil {
		client.Close()
		return nil, nil, fmt.Errorf("torture: no loopback connection: %w", err)
	}
	return client, server, nil
}
