package ftpd

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A truncatedError is why a data connection ended otherwise than by close_notify.
// It must not match io.EOF: crypto/tls and io.Copy would take that for the end.
type truncatedError struct{ cause error }

func (e *truncatedError) Error() string {
	if e.cause == io.EOF {
		return "truncated: the data connection ended without close_notify"
	}
	return "truncated: " + e.cause.Error()
}

func (e *truncatedError) Unwrap() error {
	if e.cause == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return e.cause
}

// A dataListener accepts the data connections of one session.
type dataListener struct {
	net.Listener
	session *session
}

// Accept waits for a connection from the host of the control connection, and
// closes others: one of a stranger must not take the place of the client's.
func (l *dataListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !sameHost(conn.RemoteAddr(), l.session.remote) {
			l.session.log.Warn("data connection from another host refused", "from", conn.RemoteAddr().String())
			conn.Close()
			continue
		}
		return l.session.openData(conn), nil
	}
}

func sameHost(a, b net.Addr) bool {
	x, ok := a.(*net.TCPAddr)
	y, also := b.(*net.TCPAddr)
	return ok && also && x.IP.Equal(y.IP)
}

// A dataConn is what crypto/tls reads a data connection from. crypto/tls returns
// io.EOF for close_notify, and also for a bare FIN that falls between two records;
// but it asks its transport for more only as long as close_notify has not come. So
// whenever this transport ends, the stream is truncated, and saying so in place of
// io.EOF makes every Read above fail that should.
type dataConn struct {
	net.Conn
	idle time.Duration
	// allowTruncated passes the end on as io.EOF.
	allowTruncated bool
	bareEnd        atomic.Bool // it was passed on

	mu    sync.Mutex
	fixed bool // guarded by mu: the write deadline is crypto/tls's, for its close_notify
}

func (c *dataConn) Read(p []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, &truncatedError{err}
	}
	n, err := c.Conn.Read(p)
	switch {
	case n > 0:
		return n, nil // an error comes again with the next call
	case err == nil:
		return 0, nil
	case errors.Is(err, io.EOF) && c.allowTruncated:
		c.bareEnd.Store(true)
		return 0, io.EOF
	}
	return 0, &truncatedError{err}
}

func (c *dataConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	var err error
	if !c.fixed {
		err = c.Conn.SetWriteDeadline(time.Now().Add(c.idle))
	}
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline is called by crypto/tls when it closes.
func (c *dataConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fixed = true
	return c.Conn.SetWriteDeadline(t)
}

// NetConn returns the layer below.
func (c *dataConn) NetConn() net.Conn { return c.Conn }
