package tlsstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/deferredtls/deferredtls/ticketdefer"
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
	errCallback        = errors.New("a callback of the configuration did not return")
	errEarlyCloseWrite = errors.New("tlsstream: CloseWrite before the handshake is complete")
	errWriteClosed     = fmt.Errorf("tlsstream: Write after CloseWrite: %w", net.ErrClosed)
	errNoNetConn       = errors.New("tlsstream: not a connection of this package: it was made neither by its Listener, Dialer, Server or Client nor over ticketdefer.WrapConn or WrapListener, or a wrapper without a NetConn method hides it")
)

// A Stage is how far a handshake got. In TLS 1.3 a client's certificate travels with
// its Finished, and its handshake is complete before the server has looked at
// them: that the certificate was refused is an *AlertError of its first Read, or of
// the Write that fails.
type Stage string

const (
	StageConnected        Stage = "connected"              // no TLS was sent or received
	StageHelloSent        Stage = "ClientHello sent"       // client; no part of the server's flight has come
	StageHelloReceived    Stage = "ClientHello received"   // server; at least a part of it
	StageFlightReceived   Stage = "server flight received" // client; at least a part of it
	StageFlightSent       Stage = "server flight sent"     // server; the client's Finished has not come
	StageClientFlightSent Stage = "client flight sent"     // client of TLS 1.2; with its certificate, if the server asked for one
	StageFinished         Stage = "finished"               // what failed is sending the last flight
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
	fmt.Fprintf(&b, " failed (%s, %d bytes from the peer): %s", e.Stage, e.Received, visible(e.Err))
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// visible is the text of an error of crypto/tls, which may quote a peer's certificate.
// Names in that are any ASCII the peer likes: what could steer a terminal, or forge a
// line of a log, is escaped.
func visible(err error) string {
	if err == nil {
		return "no error"
	}
	var b strings.Builder
	for _, r := range err.Error() {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

func (e *HandshakeError) Unwrap() error { return e.Err }

// Timeout reports whether the handshake can be tried again with a later
// deadline.
func (e *HandshakeError) Timeout() bool { return isTimeout(e.Err) }

// Temporary is for net.Error; it is the same as Timeout.
func (e *HandshakeError) Temporary() bool { return e.Timeout() }

// handshakeError dresses an error of crypto/tls's handshake, or a timeout in it.
func (e *Engine) handshakeError(err error) *HandshakeError {
	received, head := e.wire.progress()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // or it would pass as the end of a stream
	}
	var header tls.RecordHeaderError
	if errors.As(err, &header) && header.Conn != nil {
		header.Conn = e.netConn // not the memory under crypto/tls
		err = header
	}
	h := &HandshakeError{Client: e.client, Remote: e.wire.remote, Stage: e.stage(head), Received: received, Err: e.withAlert(err)}
	h.Hint = e.handshakeHint(h, head)
	return h
}

// handshakeHint says in words what probably happened.
func (e *Engine) handshakeHint(h *HandshakeError, head []byte) string {
	var alert *AlertError
	errors.As(h.Err, &alert)
	peer := peerName(e.client)
	var header tls.RecordHeaderError
	switch err := h.Err; {
	case len(head) > 0 && head[0] != recordHandshake && head[0] != recordAlert:
		return fmt.Sprintf("the %s does not speak TLS here: it began with %q", peer, head)
	case errors.As(err, &header):
		return fmt.Sprintf("the %s sent something that is not a TLS record in the middle of the handshake", peer)
	case alert != nil && alert.Remote:
		return "" // the alert has its own
	case isTimeout(err) && e.Pending() > 0:
		return "the deadline passed while sending: the transport takes no more"
	case isTimeout(err):
		return fmt.Sprintf("the deadline passed while waiting for the %s's %s", peer, awaited[h.Stage])
	case isReset(err) && h.Stage == StageHelloSent:
		return "the server reset the connection on seeing the ClientHello: it may not speak TLS, or something in between does not like it"
	case h.Received == 0 && (isEOF(err) || isReset(err)):
		return fmt.Sprintf("the %s closed the connection before it sent anything", peer)
	case isEOF(err):
		return fmt.Sprintf("the %s closed the connection in the middle of the handshake", peer)
	case isReset(err):
		return fmt.Sprintf("the %s reset the connection in the middle of the handshake", peer)
	}
	if hint := certificateHint(h.Err); hint != "" || alert == nil {
		return hint
	}
	return refusalHints[alert.Alert]
}

// peerName is what the other side of a client, or of a server, is.
func peerName(client bool) string {
	if client {
		return "server"
	}
	return "client"
}

// awaited is what the peer sends next at each stage.
var awaited = map[Stage]string{
	StageConnected:        "ClientHello",
	StageHelloSent:        "ServerHello",
	StageHelloReceived:    "ClientHello, of which a part has come",
	StageFlightReceived:   "flight, of which a part has come",
	StageFlightSent:       "answer to this side's flight, its Finished",
	StageClientFlightSent: "answer to this side's flight, its Finished",
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

// refusalHints say what to do when this side has sent an alert.
var refusalHints = map[Alert]string{
	AlertProtocolVersion:       "no TLS version in common: compare MinVersion and MaxVersion of both sides",
	AlertNoApplicationProtocol: "no ALPN protocol in common: compare NextProtos of both sides",
	AlertCertificateRequired:   "ClientAuth demands a certificate, and the client has shown none",
	AlertUnrecognizedName:      "this side has no certificate for the name that the client asked for",
}

// The types of record with which a peer's TLS stream can begin.
const (
	recordAlert     = 21
	recordHandshake = 22
)

// stage tells how far the handshake has come. head is what the peer began with.
func (e *Engine) stage(head []byte) Stage {
	heard := len(head) > 0 && head[0] == recordHandshake
	switch {
	case e.complete.Load() || e.client && e.wire.gate.HasSecret():
		return StageFinished
	case e.client && heard && e.wire.gate.Stats().Deferral == ticketdefer.DeferralTLS12:
		// crypto/tls has logged the master secret, as it does for this flight.
		return StageClientFlightSent
	case e.client && heard:
		return StageFlightReceived
	case e.client && e.wire.everQueued():
		return StageHelloSent
	case e.wire.gate.HelloSent():
		return StageFlightSent
	case heard:
		return StageHelloReceived
	}
	return StageConnected
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// isReset reports whether err is what a system says of a connection that was
// reset: to a Read, a Write, and a CloseWrite.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN)
}

// isClosed reports whether err is of a transport that this side has closed.
func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}
