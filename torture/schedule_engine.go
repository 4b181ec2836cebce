package torture

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// TlsstreamEngine returns the stack of a [tlsstream.Engine] that an event loop drives, one step at a time: no goroutine,
// no lock. In random-ops both ends run on one goroutine, so it is the fastest stack there, and the most exact.
func TlsstreamEngine() Stack {
	return Stack{
		Name: "tlsstream-engine",
		Server: func(conn net.Conn, config *tls.Config) Conn {
			return &engineConn{Conn: conn, engine: tlsstream.NewServerEngine(config)}
		},
		Client: func(conn net.Conn, config *tls.Config) Conn {
			return &engineConn{Conn: conn, engine: tlsstream.NewClientEngine(config)}
		},
		clientMayLose: true, // an event loop that closes at once does not drain
		single:        true,
	}
}

// An engineConn moves bytes between an engine and a transport. It reads the transport only in Handshake and Read, and
// writes to it only in Handshake, Write, CloseWrite, Close and Abort.
type engineConn struct {
	net.Conn
	engine  *tlsstream.Engine
	finSent bool
}

// engineCloseTimeout bounds what Close waits for the transport to take close_notify.
const engineCloseTimeout = 5 * time.Second

// until makes the call again, each time with more from the peer, until it needs no more.
func (c *engineConn) until(call func() error) error {
	for {
		err := call()
		if err != tlsstream.ErrWantRead {
			return err
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

func (c *engineConn) fill() error {
	buf := readBuffers.Get().(*[readBufferBytes]byte)
	defer readBuffers.Put(buf)
	n, err := c.Conn.Read(buf[:])
	if err == io.EOF {
		c.engine.FeedEOF()
		return nil
	}
	if err != nil {
		return err
	}
	_, err = c.engine.Feed(buf[:n])
	return err
}

func (c *engineConn) flush() error {
	_, err := c.engine.WriteTo(c.Conn)
	return err
}

func (c *engineConn) Handshake() error {
	return c.until(func() error {
		err := c.engine.Handshake()
		if sent := c.flush(); err == nil {
			err = sent
		}
		return err
	})
}

func (c *engineConn) Read(p []byte) (n int, err error) {
	err = c.until(func() (err error) {
		n, err = c.engine.Read(p)
		return err
	})
	return n, err
}

func (c *engineConn) Write(p []byte) (n int, err error) {
	for {
		k, err := c.engine.Write(p[n:])
		n += k
		if err := c.flush(); err != nil {
			return n, err
		}
		if err != tlsstream.ErrWantWrite {
			return n, err
		}
	}
}

func (c *engineConn) CloseWrite() error {
	if err := c.engine.CloseWrite(); err != nil {
		return err
	}
	if err := c.flush(); err != nil || c.finSent {
		return err
	}
	c.finSent = true
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *engineConn) Close() error {
	err := c.engine.Close()
	if err == nil {
		c.Conn.SetWriteDeadline(time.Now().Add(engineCloseTimeout))
		err = c.flush()
	}
	return errors.Join(err, c.Conn.Close())
}

// Abort sends a fatal alert and lets the peer see it before the transport is closed: an engine ends only the stream.
func (c *engineConn) Abort(a tlsstream.Alert) error {
	err := c.engine.Abort(a)
	c.Conn.SetWriteDeadline(time.Now().Add(engineCloseTimeout))
	return errors.Join(err, c.flush(), membio.CloseDrained(c.Conn, engineCloseTimeout))
}
