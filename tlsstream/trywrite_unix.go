//go:build unix

package tlsstream

import (
	"net"
	"os"
	"syscall"
)

// A tryWriter writes to a socket what it has room for, and never waits.
type tryWriter struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // tryOnce, kept so that a call allocates nothing

	// Of the call in progress.
	p   []byte
	n   int
	err error
}

// newTryWriter returns nil if conn is not a socket of package net itself: what
// wraps one wants to see what is written.
func newTryWriter(conn net.Conn) *tryWriter {
	var socket syscall.Conn
	switch conn := conn.(type) {
	case *net.TCPConn:
		socket = conn
	case *net.UnixConn:
		socket = conn
	default:
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	t := &tryWriter{raw: raw}
	t.try = t.tryOnce
	return t
}

// Write returns errWouldBlock if it did not write all of p. One goroutine may call
// it at a time, and no other may be writing to the socket.
func (t *tryWriter) Write(p []byte) (int, error) {
	t.p, t.n, t.err = p, 0, nil
	err := t.raw.Write(t.try)
	t.p = nil
	if err != nil {
		return 0, err
	}
	return t.n, t.err
}

// tryOnce says that it is done in any case, or it would be called again when there
// is room.
func (t *tryWriter) tryOnce(fd uintptr) bool {
	n, err := syscall.Write(int(fd), t.p)
	for err == syscall.EINTR {
		n, err = syscall.Write(int(fd), t.p)
	}
	t.n = max(n, 0)
	switch {
	case err == nil && t.n == len(t.p):
	case err == nil, err == syscall.EAGAIN:
		t.err = errWouldBlock
	default:
		t.err = os.NewSyscallError("write", err)
	}
	return true
}
