package ftpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
)

// A session is one control connection and its data connections. A server of the
// library serves it and nobody else, and asks its driver.
//
// It ends when the control connection is closed and the last transfer has
// finished its file.
type session struct {
	server *Server
	remote net.Addr
	log    *slog.Logger
	family *family
	conn   net.Conn // the control connection, below TLS
	// implicit is set if conn begins with TLS.
	implicit bool
	login    *time.Timer

	// ctx ends with the control connection.
	ctx    context.Context
	cancel context.CancelFunc
	// left is done when there will be no more commands.
	left  context.Context
	leave context.CancelFunc

	mu sync.Mutex
	// Guarded by mu.
	client    ftpserver.ClientContext // nil before the greeting
	closed    bool                    // the control connection
	transfers int                     // files open
	replying  bool                    // the last file was closed, its reply is not out
	draining  bool
	upload    *upload // the one in progress
	latest    *dataConn
	disk      io.Closer // of the last login
}

func newSession(s *Server, id uint64, conn net.Conn, implicit bool) *session {
	session := &session{
		server:   s,
		remote:   conn.RemoteAddr(),
		log:      s.config.Log.With("session", id, "remote", conn.RemoteAddr().String()),
		family:   newFamily(s.base),
		implicit: implicit,
	}
	session.ctx, session.cancel = context.WithCancel(context.Background())
	session.left, session.leave = context.WithCancel(session.ctx)
	control := &controlConn{Conn: conn, session: session}
	session.conn = control
	if s.config.RequireReuse {
		session.conn = &repeater{controlConn: control, family: session.family}
	}
	session.conn = s.config.layer(session.conn)
	session.login = time.AfterFunc(s.config.login, func() {
		session.log.Warn("not logged in, closed", "after", s.config.login)
		session.conn.Close()
	})
	return session
}

// start serves the session in goroutines of its own.
func (s *session) start() {
	s.log.Info("connected", "implicit", s.implicit)
	conn := s.conn
	if s.implicit {
		conn = tls.Server(conn, s.family.control(s.server.config.RequireReuse))
	}
	library := ftpserver.NewFtpServer(&driver{session: s, listener: &oneListener{conn: conn}})
	library.Logger = slog.New(&lowered{s.log.WithGroup("library").Handler()})
	// Both return at once: there is one connection to accept.
	err := library.Listen()
	if err == nil {
		err = library.Serve()
	}
	if err != nil {
		s.log.Error("cannot serve", "err", err)
		s.conn.Close()
	}
}

// A oneListener accepts one connection, and is then closed.
type oneListener struct{ conn net.Conn }

func (l *oneListener) Accept() (net.Conn, error) {
	conn := l.conn
	if conn == nil {
		// In the form in which the library knows it.
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}
	}
	l.conn = nil
	return conn, nil
}

func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }

// A controlConn tells its session when a reply goes out and when it is closed.
type controlConn struct {
	net.Conn
	session *session
	once    sync.Once
}

func (c *controlConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.session.replied()
	return n, err
}

func (c *controlConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.session.disconnected)
	return err
}

// CloseWrite makes the half-close of TCP reachable for the layer above.
func (c *controlConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// openData makes a data connection of one that was accepted.
func (s *session) openData(conn net.Conn) net.Conn {
	data := &dataConn{
		Conn:           s.server.config.layer(conn),
		idle:           s.server.config.Idle,
		allowTruncated: s.server.config.AllowTruncated,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = data
	return data
}

// bareEnd reports whether the last data connection ended without close_notify,
// where that is allowed.
func (s *session) bareEnd() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest != nil && s.latest.bareEnd.Load()
}

var errStopping = errors.New("the server is going down")

// begin notes the begin of a transfer; u is nil for a download.
func (s *session) begin(u *upload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || s.closed {
		return errStopping
	}
	s.transfers++
	s.latest = nil
	if u != nil {
		s.upload = u
	}
	return nil
}

// end notes that a transfer's file is closed. Its reply comes after.
func (s *session) end(u *upload) {
	s.mu.Lock()
	s.transfers--
	s.replying = s.latest != nil // without a data connection the reply came first
	if u != nil && s.upload == u {
		s.upload = nil
	}
	over := s.overLocked()
	s.mu.Unlock()
	if over {
		s.server.forget(s)
	}
}

// farewell is how long a client may take to leave by itself after the reply to
// its last transfer, when the server goes down: closing at once could cost it the
// reply.
const farewell = 2 * time.Second

func (s *session) replied() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transfers > 0 || !s.replying {
		return
	}
	s.replying = false
	if s.draining {
		time.AfterFunc(farewell, s.disconnect)
	}
}

// disconnected is called once, when the control connection is closed.
func (s *session) disconnected() {
	s.cancel()
	s.login.Stop()
	s.mu.Lock()
	s.closed = true
	over := s.overLocked()
	s.mu.Unlock()
	s.log.Info("disconnected")
	if over {
		s.server.forget(s)
	}
}

// use has a user's folder closed at the end of the session, or at the next login, which
// comes after all transfers of this one.
func (s *session) use(disk *userDisk) {
	s.closeDisk()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk, _ = disk.fs.(io.Closer)
}

func (s *session) closeDisk() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disk != nil {
		s.disk.Close()
	}
	s.disk = nil
}

func (s *session) overLocked() bool { return s.closed && s.transfers == 0 }

// drain lets a transfer in flight finish and allows no other.
func (s *session) drain() {
	s.mu.Lock()
	s.draining = true
	idle := s.transfers == 0 && !s.replying
	s.mu.Unlock()
	if idle {
		s.disconnect()
	}
}

// abort ends the session now. It returns the upload that was in progress, or nil.
func (s *session) abort() *upload {
	s.mu.Lock()
	u := s.upload
	s.mu.Unlock()
	s.disconnect()
	return u
}

// disconnect closes the control connection and a transfer in flight. The library's
// own Close may not be called from here: it shares fields without a lock.
func (s *session) disconnect() {
	s.mu.Lock()
	data := s.latest
	s.mu.Unlock()
	s.conn.Close()
	if data != nil {
		data.Close()
	}
}

// A lowered handler has no level but debug. What the library calls warnings and
// errors are clients that come and go; the session tells of those what matters.
type lowered struct{ slog.Handler }

func (l *lowered) Enabled(ctx context.Context, _ slog.Level) bool {
	return l.Handler.Enabled(ctx, slog.LevelDebug)
}

func (l *lowered) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return l.Handler.Handle(ctx, r)
}

func (l *lowered) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lowered{l.Handler.WithAttrs(attrs)}
}

func (l *lowered) WithGroup(name string) slog.Handler { return &lowered{l.Handler.WithGroup(name)} }
