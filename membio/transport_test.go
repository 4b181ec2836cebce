package membio

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// nullConn is a net.Conn that is always at its end. The transports below have
// one property more each.
type nullConn struct{}

func (nullConn) Read([]byte) (int, error)         { return 0, io.EOF }
func (nullConn) Write(p []byte) (int, error)      { return len(p), nil }
func (nullConn) Close() error                     { return nil }
func (nullConn) LocalAddr() net.Addr              { return pipeAddr("null") }
func (nullConn) RemoteAddr() net.Addr             { return pipeAddr("null") }
func (nullConn) SetDeadline(time.Time) error      { return nil }
func (nullConn) SetReadDeadline(time.Time) error  { return nil }
func (nullConn) SetWriteDeadline(time.Time) error { return nil }

// recorder keeps each Write apart.
type recorder struct {
	nullConn
	discard bool
	writes  [][]byte
	first   *byte // of the last Write, to see whether it was copied
	closes  int
}

func (c *recorder) Write(p []byte) (int, error) {
	if !c.discard {
		c.writes = append(c.writes, bytes.Clone(p))
	}
	if len(p) > 0 {
		c.first = &p[0]
	}
	return len(p), nil
}

func (c *recorder) Close() error {
	c.closes++
	return errBroken
}

// stallingConn takes a number of bytes and then times out, until it is healed.
type stallingConn struct {
	nullConn
	left int
	got  []byte
}

func (c *stallingConn) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	c.got = append(c.got, p[:n]...)
	if n < len(p) {
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

// silentConn takes one byte less than it is given, and does not say so.
type silentConn struct{ nullConn }

func (silentConn) Write(p []byte) (int, error) { return len(p) - 1, nil }

// deafConn blocks in Read and Write until it is released, whatever else is
// called, Close included. The bytes are looked at after that.
type deafConn struct {
	nullConn
	release chan struct{}
	err     error // of Write, which then takes nothing

	mu  sync.Mutex
	got []byte
}

func newDeafConn() *deafConn { return &deafConn{release: make(chan struct{})} }

func (c *deafConn) Read(p []byte) (int, error) {
	<-c.release
	return copy(p, "late"), nil
}

func (c *deafConn) Write(p []byte) (int, error) {
	<-c.release
	if c.err != nil {
		return 0, c.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, p...)
	return len(p), nil
}

func (c *deafConn) written() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.got)
}

// scriptedConn gives one reply to each Read, and then io.EOF.
type scriptedConn struct {
	nullConn
	replies []reply
	asked   []int // the length of p, for each Read
}

type reply struct {
	bytes string
	err   error
}

func (c *scriptedConn) Read(p []byte) (int, error) {
	c.asked = append(c.asked, len(p))
	if len(c.replies) == 0 {
		return 0, io.EOF
	}
	r := c.replies[0]
	c.replies = c.replies[1:]
	return copy(p, r.bytes), r.err
}

// boastingConn says that it has read a byte more than there was room for.
type boastingConn struct{ nullConn }

func (boastingConn) Read(p []byte) (int, error) { return len(p) + 1, nil }

// nowhereConn has no addresses.
type nowhereConn struct{ nullConn }

func (nowhereConn) LocalAddr() net.Addr  { return nil }
func (nowhereConn) RemoteAddr() net.Addr { return nil }
