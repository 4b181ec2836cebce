package tlsstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// ErrTruncated is returned by Read when the peer's stream ended without a
// close_notify alert: bytes may be missing (RFC 8446 6.1). It wraps
// io.ErrUnexpectedEOF. It is final for reading; the stream can still be written.
var ErrTruncated error = truncatedError{}

type truncatedError struct{}

func (truncatedError) Error() string {
	return "tlsstream: the peer's stream ended without close_notify: it may be truncated"
}
func (truncatedError) Unwrap() error { return io.ErrUnexpectedEOF }

// ErrWantRead is returned by an [Engine] that needs more bytes from the peer.
// Nothing is lost: send what Take returns, Feed what arrives, and make the
// same call again.
var ErrWantRead error = wantReadError{}

// wantReadError is a net.Error that is Temporary, which keeps crypto/tls from
// making it the connection's final error (readRecordOrCCS in conn.go).
type wantReadError struct{}

func (wantReadError) Error() string   { return "tlsstream: more bytes from the peer are needed" }
func (wantReadError) Timeout() bool   { return false }
func (wantReadError) Temporary() bool { return true }

// ErrWantWrite is returned by Engine.Write when as much ciphertext is pending
// as the engine keeps. Send what Take returns, then write the rest.
var ErrWantWrite = errors.New("tlsstream: pending ciphertext must be taken first")

// ErrInputFull is returned by Engine.Feed when it took only a part, or
// nothing, because that much is waiting to be read. Call Read, then feed the
// rest.
var ErrInputFull = errors.New("tlsstream: bytes fed before must be read first")

var (
	errEarlyCloseWrite = errors.New("tlsstream: CloseWrite before the handshake is complete")
	errNoNetConn       = errors.New("tlsstream: not a connection of this package: it was made neither by its Listener, Dialer, Server or Client nor over ticketdefer.WrapConn")
)

// A Stage is how far a handshake got. In TLS 1.3 a client's certificate travels with
// its Finished, and its handshake is complete before the server has looked at
// them: that the certificate was refused is an *AlertError of its first Read, or of
// the Write that fails.
type Stage string

const (
	StageConnected      Stage = "connected"              // nothing was sent or received
	StageHelloSent      Stage = "ClientHello sent"       // client; nothing was received
	StageHelloReceived  Stage = "ClientHello received"   // server; at least a part of the ClientHello has come
	StageFlightReceived Stage = "server flight received" // client; at least a part of it
	StageFlightSent     Stage = "server flight sent"     // server; the client's Finished has not come
	StageFinished       Stage = "finished"               // client; what failed is sending its last flight
)

// A HandshakeError tells why a handshake failed. It is final, unless the error
// beneath is a timeout: deadlines can be renewed and the call made again.
type HandshakeError struct {
	// Client is set on the client's side.
	Client bool
	// Remote is the peer's address; nil from an Engine.
	Remote net.Addr
	// Stage is how far the handshake got.
	Stage Stage
	// Received counts the bytes that have come from the peer.
	Received int64
	// Err is the error of crypto/tls or of the transport.
	Err error
	// Hint says in words what probably happened; it may be empty.
	Hint string
}

func (e *HandshakeError) Error() string {
	var b strings.Builder
	b.WriteString("tlsstream: server handshake")
	if e.Client {
		b.Reset()
		b.WriteString("tlsstream: client handshake")
	}
	if e.Remote != nil && e.Remote.String() != "" {
		fmt.Fprintf(&b, " with %s", e.Remote)
	}
	fmt.Fprintf(&b, " failed (%s, %d bytes from the peer): %v", e.Stage, e.Received, e.Err)
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

func (e *HandshakeError) Unwrap() error { return e.Err }

// Timeout reports whether the handshake can be tried again with a later
// deadline.
func (e *HandshakeError) Timeout() bool {
	var t net.Error
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary is for net.Error; it is the same as Timeout.
func (e *HandshakeError) Temporary() bool { return e.Timeout() }

// handshakeError dresses an error of crypto/tls's handshake, or a timeout in it.
func (e *Engine) handshakeError(err error) *HandshakeError {
	received, head := e.wire.progress()
	h := &HandshakeError{Client: e.client, Remote: e.wire.remote, Stage: e.stage(received), Received: received, Err: e.withAlert(err)}
	peer := "client"
	if e.client {
		peer = "server"
	}
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		if header.Conn != nil {
			header.Conn = e.netConn // not the memory under crypto/tls
			h.Err = header
		}
		h.Hint = fmt.Sprintf("the %s does not speak TLS here: it began with %q", peer, head)
	case isTimeout(err):
		h.Hint = fmt.Sprintf("the deadline passed while waiting for the %s's %s", peer, awaited[h.Stage])
	case received == 0 && (isEOF(err) || isReset(err)):
		h.Hint = fmt.Sprintf("the %s closed the connection before it sent anything", peer)
	case isEOF(err):
		h.Hint = fmt.Sprintf("the %s closed the connection in the middle of the handshake", peer)
	case isReset(err) && e.client && h.Stage == StageHelloSent:
		h.Hint = "the server reset the connection on seeing the ClientHello: it may not speak TLS, or something in between does not like it"
	case isReset(err):
		h.Hint = fmt.Sprintf("the %s reset the connection in the middle of the handshake", peer)
	default:
		h.Hint = certificateHint(err)
	}
	return h
}

// awaited is what the peer sends next at each stage.
var awaited = map[Stage]string{
	StageConnected:      "ClientHello",
	StageHelloSent:      "ServerHello",
	StageHelloReceived:  "ClientHello, of which a part has come",
	StageFlightReceived: "flight, of which a part has come",
	StageFlightSent:     "Finished",
	StageFinished:       "socket to take the last flight",
}

// certificateHint says what to do when this side did not accept the peer's
// certificate.
func certificateHint(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return "the peer's certificate is signed by an authority that is not in RootCAs or ClientCAs"
	case errors.As(err, &name):
		return "the peer has a certificate for another name: check ServerName"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the peer's certificate has expired or is not valid yet, or this machine's clock is wrong"
	}
	return ""
}

// stage tells how far the handshake has come.
func (e *Engine) stage(received int64) Stage {
	sent := e.wire.due.total.Load() > 0
	switch {
	case e.client && e.wire.gate.HasSecret():
		return StageFinished
	case e.client && received > 0:
		return StageFlightReceived
	case e.client && sent:
		return StageHelloSent
	case !e.client && e.wire.gate.HasSecret():
		return StageFlightSent
	case !e.client && received > 0:
		return StageHelloReceived
	}
	return StageConnected
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
