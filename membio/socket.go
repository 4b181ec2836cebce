package membio

import (
	"io"
	"net"
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
	written, loaned int
	lender          Lender
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
// waits. Zero may mean that the socket is full, that the deadline has passed, or
// that the connection is dead: a Write of the connection tells.
func (s *Socket) TryWrite(p []byte) int {
	if s.write == nil {
		s.write = s.onWritable
	}
	s.toWrite, s.written = p, 0
	err := s.raw.Write(s.write)
	s.toWrite = nil
	if err != nil {
		return 0
	}
	return s.written
}

func (s *Socket) onWritable(fd uintptr) bool {
	s.written = writeNow(fd, s.toWrite)
	return true
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
	if err != nil {
		local, remote := s.conn.LocalAddr(), s.conn.RemoteAddr()
		s.readErr = &net.OpError{Op: "read", Net: local.Network(), Source: local, Addr: remote, Err: err}
	} else if n == 0 {
		s.readErr = io.EOF
	}
	return true
}
