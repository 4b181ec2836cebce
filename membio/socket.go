package membio

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// A Socket does what net.Conn has no words for: a write that never waits, and a
// read that takes memory only when there is something to read. One goroutine may
// read and one may write at once, beside any number of the connection's own calls.
//
// Its calls know the deadlines of the connection.
type Socket struct {
	conn net.Conn
	raw  syscall.RawConn

	// What a call leaves for its callback, and back. The callbacks are kept, so
	// that no call allocates.
	write, read     func(fd uintptr) bool
	toWrite         []byte
	more            bool
	written, loaned int
	lender          Lender
	writeErr        error
	readErr         error
}

// A Lender has the memory that a read goes to.
type Lender interface {
	// Lend returns memory for a read, at least one byte. The socket is readable, or
	// was a moment ago.
	Lend() []byte

	// TakeBack ends the loan: n bytes have been read into it.
	TakeBack(n int)
}

// SocketOf returns the Socket of a *net.TCPConn or a *net.UnixConn, and nil for
// any other connection, even one that has a SyscallConn method: a type that embeds
// one of these may count, delay or change what passes through its Read and Write.
func SocketOf(conn net.Conn) *Socket {
	if !hasSockets {
		return nil
	}
	var raw syscall.RawConn
	var err error
	switch conn := conn.(type) {
	case *net.TCPConn:
		raw, err = conn.SyscallConn()
	case *net.UnixConn:
		raw, err = conn.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	return &Socket{conn: conn, raw: raw}
}

// TryWrite hands p to the kernel, and returns how many bytes it took. It never
// waits: if the socket is full, or the deadline has passed, it returns what it
// could do, and no error. An error is as of the connection's Write, and the kernel
// may not tell it again.
//
// more says that the next write follows at once. The kernel then fills its segments
// before it sends them, if [Socket.Gathers]; else more is of no account.
func (s *Socket) TryWrite(p []byte, more bool) (int, error) {
	if s.write == nil {
		s.write = s.onWritable
	}
	s.toWrite, s.more, s.written, s.writeErr = p, more, 0, nil
	err := s.raw.Write(s.write)
	s.toWrite = nil
	if err == nil {
		err = s.writeErr
	}
	if op, ok := err.(*net.OpError); ok {
		if errors.Is(op, os.ErrDeadlineExceeded) {
			return 0, nil
		}
		op.Op = "write" // not raw-write
	}
	return s.written, err
}

// Gathers reports whether this system joins writes that say that more follows.
// Then several of them cost little more than a single one.
func (s *Socket) Gathers() bool { return msgMore != 0 }

func (s *Socket) onWritable(fd uintptr) bool {
	n, err := writeNow(fd, s.toWrite, s.more)
	s.written, s.writeErr = n, s.opError("write", err)
	return true
}

// opError is nil without err.
func (s *Socket) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	local, remote := s.conn.LocalAddr(), s.conn.RemoteAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: remote, Err: err}
}

// ReadTo waits until there is something to read, and makes one read into memory
// that l lends it. Its results are as those of the connection's Read.
func (s *Socket) ReadTo(l Lender) (int, error) {
	if s.read == nil {
		s.read = s.onReadable
	}
	s.lender, s.loaned, s.readErr = l, 0, nil
	err := s.raw.Read(s.read)
	s.lender = nil
	if op, ok := err.(*net.OpError); ok {
		op.Op = "read" // not raw-read
	}
	if err == nil {
		err = s.readErr
	}
	return s.loaned, err
}

func (s *Socket) onReadable(fd uintptr) bool {
	p := s.lender.Lend()
	n, wait, err := readNow(fd, p)
	s.lender.TakeBack(n)
	if wait {
		return false
	}
	s.loaned = n
	s.readErr = s.opError("read", err)
	if n == 0 && err == nil {
		s.readErr = io.EOF
	}
	return true
}
