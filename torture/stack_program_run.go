package torture

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// meetWithin bounds the time in which a program must have connected or listen. It takes some milliseconds.
	meetWithin = 10 * time.Second

	// askAgainAfter is how long a refused client waits for a server to listen.
	askAgainAfter = 2 * time.Millisecond

	// portAttempts is how often a server is started again because somebody else has taken the port meanwhile.
	portAttempts = 3
)

// dialedByClient starts the program, which connects to the stack's server.
func (p Program) dialedByClient(ctx context.Context, t *trial) (client, server net.Conn, err error) {
	w, err := t.withFiles()
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("torture: no loopback listener: %w", err)
	}
	defer listener.Close()
	args, err := p.Client(w.trial(listener.Addr().(*net.TCPAddr).Port))
	if err != nil {
		return nil, nil, err
	}
	program, err := w.start(ctx, args)
	if err != nil {
		return nil, nil, err
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if conn, err := listener.Accept(); err == nil {
			accepted <- conn
		}
	}()
	late := time.NewTimer(meetWithin)
	defer late.Stop()
	select {
	case server := <-accepted:
		return program, server, nil
	case <-program.exited:
		// What it has connected is there to be accepted.
		listener.(*net.TCPListener).SetDeadline(time.Now().Add(askAgainAfter))
		if server, ok := <-accepted; ok {
			return program, server, nil
		}
	case <-late.C:
	case <-ctx.Done():
	}
	listener.Close()
	if conn := <-accepted; conn != nil {
		conn.Close()
	}
	program.Close()
	return nil, nil, fmt.Errorf("torture: %s did not connect: %w", p.Name, errors.Join(context.Cause(ctx), program.ended()))
}

// dialServer starts the program and connects to it.
func (p Program) dialServer(ctx context.Context, t *trial) (client, server net.Conn, err error) {
	w, err := t.withFiles()
	if err != nil {
		return nil, nil, err
	}
	var failed error
	for range portAttempts {
		port, err := freePort()
		if err != nil {
			return nil, nil, err
		}
		args, err := p.Server(w.trial(port))
		if err != nil {
			return nil, nil, err
		}
		program, err := w.start(ctx, args)
		if err != nil {
			return nil, nil, err
		}
		if conn := program.connect(ctx, port); conn != nil {
			return conn, program, nil
		}
		program.Close()
		failed = fmt.Errorf("torture: %s did not listen: %w", p.Name, errors.Join(context.Cause(ctx), program.ended()))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, failed
}

// freePort returns a port that nobody listens on. openssl s_server says which port it has chosen only where it would
// also mix what it says with what it has received.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("torture: no loopback listener: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// connect returns nil if the program does not listen in time.
func (p *process) connect(ctx context.Context, port int) net.Conn {
	again := time.NewTicker(askAgainAfter)
	defer again.Stop()
	late := time.NewTimer(meetWithin)
	defer late.Stop()
	address := ProgramTrial{Port: port}.address()
	for {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			return conn
		}
		select {
		case <-again.C:
		case <-p.exited:
			return nil
		case <-late.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// withFiles gives the trial certificates that are in files, too.
func (t *trial) withFiles() (*workshop, error) {
	w := t.workshop
	if err := w.open(); err != nil {
		return nil, err
	}
	t.serverConfig.Certificates = []tls.Certificate{w.server}
	t.clientConfig.RootCAs = w.ca.Pool()
	t.clientConfig.ServerName = "localhost"
	return w, nil
}

// A pipedConn is a program as the script of its side sees it: it does TLS itself.
type pipedConn struct{ metered }

func (pipedConn) Handshake() error { return nil }

// feed is the script of a program that uploads its standard input.
func feed(s *side) error {
	program := programOf(s)
	s.conn = pipedConn{s.transport}
	writing := s.send(s.trial.size)
	program.CloseWrite()
	s.step.Store(new("wait for the exit"))
	io.Copy(io.Discard, s.transport)
	if err := program.ended(); err != nil {
		return err
	}
	return writing
}

// collect is the script of a program that writes to its standard output what it receives.
func collect(s *side) error {
	s.conn = pipedConn{s.transport}
	if err := s.receiveAll(); err != nil {
		return err
	}
	return programOf(s).ended()
}

// programOf returns nil if the side is not a program.
func programOf(s *side) *process {
	conn, _ := s.transport.(meteredConn)
	program, _ := conn.Conn.(*process)
	return program
}
