package tlsstream_test

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A memoryConn is a net.Conn whose Reads come from a channel and whose Writes go
// to one; it never blocks a writer.
type memoryConn struct {
	in, out chan []byte
	rest    []byte
	count   atomic.Int64
}

func newMemoryConn() *memoryConn {
	return &memoryConn{in: make(chan []byte, 1000), out: make(chan []byte, 1000)}
}

func (m *memoryConn) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		next, ok := <-m.in
		if !ok {
			return 0, io.EOF
		}
		m.rest = next
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func (m *memoryConn) Write(p []byte) (int, error) {
	m.count.Add(int64(len(p)))
	m.out <- append([]byte(nil), p...)
	return len(p), nil
}

func (m *memoryConn) written() int64                 { return m.count.Load() }
func (*memoryConn) Close() error                     { return nil }
func (*memoryConn) LocalAddr() net.Addr              { return nil }
func (*memoryConn) RemoteAddr() net.Addr             { return nil }
func (*memoryConn) SetDeadline(time.Time) error      { return nil }
func (*memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (*memoryConn) SetWriteDeadline(time.Time) error { return nil }
