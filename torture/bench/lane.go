package bench

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// A lane is one end of a set of connections between two stacks.
type lane struct {
	kind     kind
	server   bool
	timeout  time.Duration // of a slice
	listener *net.TCPListener
	port     int
	wrap     func(net.Conn) Conn
	job      job
	message  []byte // of one-way

	mu sync.Mutex
	// Guarded by mu.
	conns    []*conn
	timedOut bool
	closed   bool

	exchanged int // connections of an idle lane
}

// A conn has what a connection needs for all its slices, so that they allocate nothing.
type conn struct {
	raw net.Conn
	tls Conn
	buf []byte

	message []byte // of one-way: the lane's

	// Of an idle lane.
	first [1]byte
	whole chan error // one for each answer, on a client
}

const (
	// readBytes is how much a receiver asks for at once: four records.
	readBytes = 64 << 10

	// readBytesOfMany is the same of each of more than manyConns connections, whose buffers would else take a gigabyte.
	readBytesOfMany = 16 << 10
	manyConns       = 100
)

func (l *lane) accept() (*conn, error) {
	raw, err := l.listener.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return l.handshake(raw)
}

func (l *lane) dial() (*conn, error) {
	raw, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.port})
	if err != nil {
		return nil, err
	}
	return l.handshake(raw)
}

// handshake adds a connection to the lane.
func (l *lane) handshake(raw net.Conn) (*conn, error) {
	c := &conn{raw: raw, tls: l.wrap(raw)}
	if !l.add(c) {
		raw.Close()
		return nil, net.ErrClosed
	}
	if err := c.tls.Handshake(); err != nil {
		return nil, err
	}
	// The client's is the server's, too, unless that is behind a terminator.
	if suite := c.tls.ConnectionState().CipherSuite; !l.server && suite != tls.TLS_AES_128_GCM_SHA256 {
		return nil, fmt.Errorf("the cipher suite is %s, and all are compared with AES-128-GCM", tls.CipherSuiteName(suite))
	}
	return c, nil
}

func (l *lane) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.conns = append(l.conns, c)
	return true
}

func (l *lane) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.conns, c); i >= 0 {
		l.conns = slices.Delete(l.conns, i, i+1)
	}
}

// close closes the transports, for a stack's Close may wait.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.listener != nil {
		l.listener.Close()
	}
	for _, c := range l.conns {
		c.raw.Close()
	}
}

// watch closes the lane if the function that it returns is not called in time.
func (l *lane) watch() (stop func()) {
	timer := time.AfterFunc(l.timeout, func() {
		l.mu.Lock()
		l.timedOut = true
		l.mu.Unlock()
		l.close()
	})
	return func() { timer.Stop() }
}

// explain names the cause of an error.
func (l *lane) explain(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timedOut {
		return fmt.Errorf("no progress for %v", l.timeout)
	}
	return err
}
