package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A Server accepts connections and carries them.
type Server struct {
	config Config

	slots chan struct{} // one is taken for each connection, before it is accepted
	full  moment        // when it was last told that none is free; Serve's own

	mu       sync.Mutex
	listener net.Listener  // guarded by mu
	stopping chan struct{} // closed under mu

	draining sync.Mutex // held by Drain

	cutting context.Context // done when what is still carried must end
	cut     context.CancelFunc
	cuts    atomic.Int64
}

// New returns a Server.
func New(config Config) *Server {
	config.TLS = config.tlsConfig()
	s := &Server{config: config, slots: make(chan struct{}, config.MaxConnections), stopping: make(chan struct{})}
	s.cutting, s.cut = context.WithCancel(context.Background())
	return s
}

// The waits after an error of Accept, which is mostly for want of file descriptors.
const (
	firstRetry   = 5 * time.Millisecond
	longestRetry = time.Second
)

// Serve accepts connections of l, a TCP listener, until Stop is called, or l is
// closed, which is an error.
func (s *Server) Serve(l net.Listener) error {
	if !s.use(l) {
		return l.Close()
	}
	accept := s.acceptor(l)
	retry := firstRetry
	for {
		if !s.takeSlot() {
			return nil
		}
		carry, err := accept()
		switch {
		case err == nil:
			retry = firstRetry
			go func() {
				defer s.freeSlot()
				carry()
			}()
			continue
		}
		s.freeSlot()
		switch {
		case s.isStopping():
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		}
		s.config.Log.Warn("cannot accept a connection", "err", err, "retry_in", retry.String())
		select {
		case <-time.After(retry):
		case <-s.stopping:
		}
		retry = min(2*retry, longestRetry)
	}
}

// takeSlot waits until one more connection may be carried, unless the server is
// stopping.
func (s *Server) takeSlot() bool {
	if len(s.slots) == cap(s.slots) {
		if at := now(); s.full == 0 || at-s.full > time.Minute {
			s.full = at
			s.config.Log.Warn("connection limit reached, new connections wait", "limit", cap(s.slots))
		}
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.stopping:
		return false
	}
}

func (s *Server) freeSlot() { <-s.slots }

// use makes l what Stop closes, unless Stop was called already.
func (s *Server) use(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	return !s.isStopping()
}

// Stop makes Serve return. What has been accepted goes on.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStopping() {
		return
	}
	close(s.stopping)
	if s.listener != nil {
		s.listener.Close()
	}
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// Drain waits, after Stop, until all connections have ended by themselves. When ctx is
// done it ends the rest, on both sides as errors, and returns how many those were.
func (s *Server) Drain(ctx context.Context) (cut int) {
	s.draining.Lock()
	defer s.draining.Unlock()
	for range cap(s.slots) {
		select {
		case s.slots <- struct{}{}:
			continue
		case <-ctx.Done():
			s.cut()
		}
		s.slots <- struct{}{} // soon: everything that a connection still does is bounded
	}
	for range cap(s.slots) {
		<-s.slots
	}
	return int(s.cuts.Load())
}

// acceptor returns what accepts a connection of l, and returns what carries it.
func (s *Server) acceptor(l net.Listener) func() (func(), error) {
	if s.config.Originate {
		return func() (func(), error) {
			conn, err := l.Accept()
			if err != nil {
				return nil, err
			}
			plain := conn.(*net.TCPConn)
			setBuffers(plain, s.config.SocketBuffer)
			return func() { s.originate(plain) }, nil
		}
	}
	streams := tlsstream.NewListener(wireListener{l, s.config.SocketBuffer}, s.config.TLS)
	return func() (func(), error) {
		stream, err := streams.AcceptStream()
		if err != nil {
			return nil, err
		}
		return func() { s.terminate(stream) }, nil
	}
}

// A wireListener puts a wire beneath each stream.
type wireListener struct {
	net.Listener
	socketBuffer int
}

func (l wireListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	setBuffers(tcp, l.socketBuffer)
	return &wire{TCPConn: tcp}, nil
}
