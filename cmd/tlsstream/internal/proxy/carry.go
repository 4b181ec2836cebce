package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// An outcome is what became of a connection, for logs and metrics.
type outcome string

const (
	outcomeDone        outcome = "done"             // both sides ended in order
	outcomeHandshake   outcome = "handshake_failed" // of TLS
	outcomeRefused     outcome = "refused"          // the peer is not on the list
	outcomeNoRoute     outcome = "no_route"         // no backend for the ALPN protocol
	outcomeUnreachable outcome = "backend_unreachable"
	outcomeTLS         outcome = "tls_failed"   // the TLS side broke off
	outcomePlain       outcome = "plain_failed" // the plain side broke off
	outcomeIdle        outcome = "idle"
	outcomeCut         outcome = "cut" // by this proxy, which was told to stop
)

var outcomes = []outcome{outcomeDone, outcomeHandshake, outcomeRefused, outcomeNoRoute, outcomeUnreachable,
	outcomeTLS, outcomePlain, outcomeIdle, outcomeCut}

// terminate carries between a TLS client and a plain backend.
func (s *Server) terminate(stream *tlsstream.Conn) {
	remote := stream.RemoteAddr()
	end := s.begin(remote)
	wire := stream.NetConn().(*wire)
	state, err := s.handshake(stream)
	if err != nil {
		_ = stream.Close()
		end(outcomeHandshake, "", err)
		return
	}
	abort := func(o outcome, to string, alert tlsstream.Alert, err error) {
		wire.fail()
		_ = stream.Abort(alert)
		end(o, to, err)
	}
	if len(s.config.AllowedNames) > 0 {
		if err := Allowed(state, s.config.AllowedNames); err != nil {
			abort(outcomeRefused, "", tlsstream.AlertAccessDenied, err)
			return
		}
	}
	to := s.config.backend(state.NegotiatedProtocol)
	if to == "" {
		abort(outcomeNoRoute, "", tlsstream.AlertNoApplicationProtocol, errors.New("the client asks for no protocol, and there is no backend for that"))
		return
	}
	plain, err := s.dial(s.cutting, to, remote, stream.LocalAddr(), &state)
	if err != nil {
		abort(outcomeUnreachable, to, tlsstream.AlertInternalError, err)
		return
	}
	s.carry(stream, wire, plain, to, end)
}

// originate carries between a plain client and a TLS backend.
func (s *Server) originate(plain *net.TCPConn) {
	end := s.begin(plain.RemoteAddr())
	to := s.config.To
	stream, err := s.dialTLS(to, plain)
	if err != nil {
		_ = reset(plain)
		o := outcomeUnreachable
		if _, ok := errors.AsType[*tlsstream.HandshakeError](err); ok {
			o = outcomeHandshake
		}
		end(o, to, err)
		return
	}
	s.carry(stream, stream.NetConn().(*wire), plain, to, end)
}

// dialTLS connects to a TLS backend for a plain client.
func (s *Server) dialTLS(to string, client *net.TCPConn) (*tlsstream.Conn, error) {
	dialer := tlsstream.Dialer{
		Config: s.config.TLS,
		NetDialer: dialFunc(func(ctx context.Context, _, to string) (net.Conn, error) {
			conn, err := s.dial(ctx, to, client.RemoteAddr(), client.LocalAddr(), nil)
			if err != nil {
				return nil, err
			}
			_ = conn.SetDeadline(time.Now().Add(s.config.HandshakeTimeout))
			return &wire{TCPConn: conn}, nil
		}),
	}
	began := time.Now()
	stream, err := dialer.DialStream(s.cutting, "tcp", to)
	if err != nil {
		return nil, err
	}
	s.config.Metrics.handshakes.Observe(time.Since(began).Seconds())
	return stream, stream.SetDeadline(time.Time{})
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// handshake runs a client's handshake within its time.
func (s *Server) handshake(stream *tlsstream.Conn) (tls.ConnectionState, error) {
	began := time.Now()
	if err := stream.SetDeadline(began.Add(s.config.HandshakeTimeout)); err != nil {
		return tls.ConnectionState{}, err
	}
	if err := stream.HandshakeContext(s.cutting); err != nil {
		return tls.ConnectionState{}, err
	}
	s.config.Metrics.handshakes.Observe(time.Since(began).Seconds())
	return stream.ConnectionState(), stream.SetDeadline(time.Time{})
}

// dial connects to a backend for a client that was accepted at local, and sends the
// PROXY header.
func (s *Server) dial(ctx context.Context, to string, client, local net.Addr, state *tls.ConnectionState) (*net.TCPConn, error) {
	conn, err := (&net.Dialer{Timeout: s.config.DialTimeout}).DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the backend: %w", err)
	}
	plain := conn.(*net.TCPConn)
	setBuffers(plain, s.config.SocketBuffer)
	if !s.config.ProxyHeader {
		return plain, nil
	}
	header, err := proxyHeader(client, local, state)
	if err == nil {
		_, err = plain.Write(header) // the first bytes: they do not block
	}
	if err != nil {
		_ = reset(plain)
		return nil, fmt.Errorf("cannot send the PROXY header to the backend: %w", err)
	}
	return plain, nil
}

// carry runs a pair.
func (s *Server) carry(stream *tlsstream.Conn, w *wire, plain *net.TCPConn, to string, end func(outcome, string, error)) {
	m := s.config.Metrics
	p := &pair{
		tls: stream, wire: w, plain: plain,
		rule: s.config.End, quiet: s.config.Quiet, idle: s.config.IdleTimeout,
		carried: m.carried, waited: m.waited.Inc,
	}
	err := p.run(s.cutting)
	m.deferred.Add(float64(stream.Stats().ReleasedRecords))
	end(outcomeOf(err), to, err)
}

func outcomeOf(err error) outcome {
	f, ok := errors.AsType[*failure](err)
	switch {
	case !ok:
		return outcomeDone
	case f.side == tlsSide:
		return outcomeTLS
	case f.side == plainSide:
		return outcomePlain
	case f.err == errIdle:
		return outcomeIdle
	}
	return outcomeCut
}

// begin notes a connection. The function that it returns notes its end.
func (s *Server) begin(remote net.Addr) (end func(o outcome, to string, err error)) {
	began := time.Now()
	m := s.config.Metrics
	m.open.Inc()
	return func(o outcome, to string, err error) {
		m.open.Dec()
		m.ended[o].Inc()
		level := slog.LevelDebug
		if o != outcomeDone {
			level = slog.LevelInfo
		}
		if o == outcomeCut || err != nil && s.cutting.Err() != nil {
			s.cuts.Add(1)
		}
		attrs := []any{"outcome", string(o), "client", remote.String(), "backend", to, "seconds", time.Since(began).Seconds()}
		if err != nil {
			attrs = append(attrs, "err", err.Error())
		}
		s.config.Log.Log(context.Background(), level, "connection ended", attrs...)
	}
}
