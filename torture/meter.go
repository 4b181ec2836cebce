package torture

import (
	"net"
	"sync/atomic"

	"github.com/deferredtls/deferredtls/membio"
)

// A meter watches one end of a transport: what moves through it, and which calls wait in it.
type meter struct {
	moves   atomic.Int64 // grows with each call that returns and each byte that passes
	reading atomic.Int32 // calls inside Read
	writing atomic.Int32 // calls inside Write

	// maxRead is the most that one Read takes; no limit if zero. It is set before the transport is used.
	maxRead int

	// tape, if not nil, takes down what happens on the transport, as the doing of this side.
	tape *tape
	side int
}

func (m *meter) read(read func([]byte) (int, error), p []byte) (int, error) {
	if m.maxRead > 0 && len(p) > m.maxRead {
		p = p[:m.maxRead]
	}
	m.tape.reads(m.side)
	m.reading.Add(1)
	n, err := read(p)
	m.reading.Add(-1)
	m.tape.hasRead(m.side, n, err)
	m.moves.Add(1 + int64(n))
	return n, err
}

func (m *meter) write(write func([]byte) (int, error), p []byte) (int, error) {
	taped := m.tape.write(m.side, p)
	m.writing.Add(1)
	n, err := write(p)
	m.writing.Add(-1)
	m.tape.wrote(m.side, p, n, taped, err)
	m.moves.Add(1 + int64(n))
	return n, err
}

// end closes the transport, or its sending half.
func (m *meter) end(closes func() error, kind entryKind) error {
	m.tape.closes(m.side, kind)
	return closes()
}

// where names the transport calls that wait at this moment; it is empty if none does.
func (m *meter) where() string {
	switch reading, writing := m.reading.Load() > 0, m.writing.Load() > 0; {
	case reading && writing:
		return "transport read and write"
	case reading:
		return "transport read"
	case writing:
		return "transport write"
	}
	return ""
}

// metered is a transport with a meter. A stack finds the transport's other methods on it, CloseWrite and SyscallConn
// among them, as it would find them without the meter.
type metered interface {
	net.Conn
	watched() *meter

	// waits reports whether a call in progress waits for the peer to read or write, if the transport can tell. A pipe
	// can, so what happens over a pipe does not depend on time.
	waits() (waits, known bool)

	// full reports whether the transport is known to accept nothing more until the peer reads.
	full() bool
}

func (m *meter) watched() *meter    { return m }
func (m *meter) waits() (_, _ bool) { return false, false }
func (m *meter) full() bool         { return false }

// newMetered puts a meter on a transport. sendBuffer is the size of a pipe's send buffer.
func newMetered(conn net.Conn, sendBuffer int) metered {
	switch conn := conn.(type) {
	case *net.TCPConn:
		return meteredTCP{conn, new(meter)}
	case *membio.PipeConn:
		return meteredPipe{conn, new(meter), sendBuffer}
	case *delayedConn:
		return meteredDelayed{conn, new(meter)}
	case *faultConn:
		return meteredFault{conn, new(meter), sendBuffer}
	default:
		return meteredConn{conn, new(meter)}
	}
}

type meteredTCP struct {
	*net.TCPConn
	*meter
}

func (c meteredTCP) Read(p []byte) (int, error)  { return c.read(c.TCPConn.Read, p) }
func (c meteredTCP) Write(p []byte) (int, error) { return c.write(c.TCPConn.Write, p) }
func (c meteredTCP) CloseWrite() error           { return c.end(c.TCPConn.CloseWrite, entryFIN) }
func (c meteredTCP) Close() error                { return c.end(c.TCPConn.Close, entryClose) }

type meteredPipe struct {
	*membio.PipeConn
	*meter
	sendBuffer int
}

func (c meteredPipe) waits() (waits, known bool) {
	writing := c.writing.Load() > 0 && c.Unsent() >= c.sendBuffer
	reading := c.reading.Load() > 0 && c.Unread() == 0
	return writing || reading, true
}

// full does not call a pipe without a buffer full: there each write waits for a read.
func (c meteredPipe) full() bool { return c.sendBuffer > 0 && c.Unsent() >= c.sendBuffer }

func (c meteredPipe) Read(p []byte) (int, error)  { return c.read(c.PipeConn.Read, p) }
func (c meteredPipe) Write(p []byte) (int, error) { return c.write(c.PipeConn.Write, p) }
func (c meteredPipe) CloseWrite() error           { return c.end(c.PipeConn.CloseWrite, entryFIN) }
func (c meteredPipe) Close() error                { return c.end(c.PipeConn.Close, entryClose) }

type meteredConn struct {
	net.Conn
	*meter
}

func (c meteredConn) Read(p []byte) (int, error)  { return c.read(c.Conn.Read, p) }
func (c meteredConn) Write(p []byte) (int, error) { return c.write(c.Conn.Write, p) }
func (c meteredConn) Close() error                { return c.end(c.Conn.Close, entryClose) }
