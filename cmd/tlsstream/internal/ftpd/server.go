package ftpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/spf13/afero"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// Config is what a Server serves, and its limits.
type Config struct {
	Users *Users
	// TLS has the certificate. Its session ticket keys serve all connections.
	TLS *tls.Config
	// Passive is where data connections are accepted.
	Passive Passive
	// RequireReuse refuses data connections that do not resume a TLS session
	// of their control connection.
	RequireReuse bool
	// AllowTruncated takes a bare FIN between two records for the end of an
	// upload that is not empty.
	AllowTruncated bool
	// MaxConnections bounds the control connections. Each has at most one
	// data connection.
	MaxConnections int
	// Idle ends a control connection without a command, and a data
	// connection on which nothing moves.
	Idle time.Duration
	Log  *slog.Logger

	// disk opens the folder of a user; tests put a slow one under it.
	disk func(root string) afero.Fs
	// layer goes below TLS; tests take it away to show what it is for.
	layer func(net.Conn) net.Conn
	// login is loginTimeout; tests cannot wait for it.
	login time.Duration
}

// Passive says where clients find their data connections.
type Passive struct {
	// PublicIP is told to clients that use PASV; if empty, the address that
	// the control connection came in on.
	PublicIP string
	// First and Last are a range of ports; if zero, any port.
	First, Last int
}

// loginTimeout is how long a client may take to log in. A slot among
// MaxConnections is worth more than Idle to somebody without a password.
const loginTimeout = time.Minute

// A Server accepts control connections. It makes a server of the library for
// each: the library's hook for data connections does not tell whose they are, and
// here all of a client's have one owner, its session.
type Server struct {
	config Config
	base   *tls.Config // the ticket keys of all sessions
	names  busyNames

	slots chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	listeners []net.Listener
	sessions  map[*session]bool
	lastID    uint64
	stopping  bool
	gone      chan struct{} // closed when stopping and no session is left
}

// New checks config and returns a Server.
func New(config Config) (*Server, error) {
	switch {
	case config.Users == nil, config.TLS == nil, config.Log == nil:
		return nil, errors.New("ftpd: Config lacks Users, TLS or Log")
	case config.MaxConnections < 1:
		return nil, fmt.Errorf("at most %d connections is less than one", config.MaxConnections)
	case config.Idle < time.Second:
		return nil, fmt.Errorf("an idle time of %v is less than a second", config.Idle)
	}
	if err := config.Passive.check(); err != nil {
		return nil, err
	}
	if config.disk == nil {
		config.disk = newRootDisk
	}
	if config.layer == nil {
		config.layer = func(conn net.Conn) net.Conn { return ticketdefer.WrapConn(conn) }
	}
	if config.login == 0 {
		config.login = loginTimeout
	}
	return &Server{
		config:   config,
		base:     ticketdefer.WrapConfig(config.TLS),
		slots:    make(chan struct{}, config.MaxConnections),
		sessions: make(map[*session]bool),
		gone:     make(chan struct{}),
	}, nil
}

func (p Passive) check() error {
	if p.PublicIP != "" && net.ParseIP(p.PublicIP).To4() == nil {
		return fmt.Errorf("%q is not an IPv4 address, and PASV has room for no other", p.PublicIP)
	}
	if p.First == 0 && p.Last == 0 {
		return nil
	}
	if p.First < 1 || p.Last < p.First || p.Last > 65535 {
		return fmt.Errorf("%d-%d is not a range of ports", p.First, p.Last)
	}
	return nil
}

// Serve accepts control connections until Shutdown; then it returns nil. With
// implicit set they begin with TLS, else with AUTH TLS. It may be called for
// several listeners.
func (s *Server) Serve(l net.Listener, implicit bool) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		l.Close()
		return nil
	}
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	delay := acceptDelay
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			// Out of descriptors, or a client that has gone again: neither is
			// a reason to go down, and retrying at once would only burn.
			s.config.Log.Error("cannot accept", "err", err, "retry_in", delay)
			time.Sleep(delay)
			delay = min(2*delay, maxAcceptDelay)
			continue
		}
		delay = acceptDelay
		s.admit(conn, implicit)
	}
}

// As net/http's server.
const (
	acceptDelay    = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

// refusalTimeout bounds the writing of one line to a client that is turned away.
const refusalTimeout = 100 * time.Millisecond

func (s *Server) admit(conn net.Conn, implicit bool) {
	select {
	case s.slots <- struct{}{}:
	default:
		s.config.Log.Warn("too many connections", "remote", conn.RemoteAddr().String(), "max", s.config.MaxConnections)
		if !implicit {
			conn.SetWriteDeadline(time.Now().Add(refusalTimeout))
			io.WriteString(conn, "421 Too many connections, try again later\r\n")
		}
		conn.Close()
		return
	}
	s.mu.Lock()
	if s.stopping { // the listener was closed a moment too late
		s.mu.Unlock()
		conn.Close()
		<-s.slots
		return
	}
	s.lastID++
	session := newSession(s, s.lastID, conn, implicit)
	s.sessions[session] = true
	s.mu.Unlock()
	session.start()
}

// forget ends a session's part in the server.
func (s *Server) forget(session *session) {
	session.closeDisk()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session)
	<-s.slots
	if s.stopping && len(s.sessions) == 0 {
		close(s.gone)
	}
}

// abortTimeout is how long the ends of uploads that Shutdown cuts may take.
const abortTimeout = 5 * time.Second

// Shutdown accepts no more connections and no more transfers, and waits for the
// transfers in flight until ctx is done. It returns the names of the uploads that
// did not end; they are left as .partial.
func (s *Server) Shutdown(ctx context.Context) (unfinished []string) {
	s.mu.Lock()
	if !s.stopping {
		s.stopping = true
		if len(s.sessions) == 0 {
			close(s.gone)
		}
	}
	for _, l := range s.listeners {
		l.Close()
	}
	sessions := s.list()
	s.mu.Unlock()
	for _, session := range sessions {
		session.drain()
	}
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	sessions = s.list()
	s.mu.Unlock()
	var cut []*upload
	for _, session := range sessions {
		if u := session.abort(); u != nil {
			cut = append(cut, u)
		}
	}
	patience := time.NewTimer(abortTimeout)
	defer patience.Stop()
	select {
	case <-s.gone:
	case <-patience.C:
		s.config.Log.Error("transfers do not end: a disk or a file system hangs")
	}
	for _, u := range cut {
		if !u.complete.Load() {
			unfinished = append(unfinished, u.name)
		}
	}
	return unfinished
}

func (s *Server) list() []*session {
	var list []*session
	for session := range s.sessions {
		list = append(list, session)
	}
	return list
}
