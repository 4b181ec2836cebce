package get

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A Kind says what became of a download. Its text is for programs, and does not change.
type Kind string

// The kinds of outcome.
const (
	Complete    Kind = "complete"
	Local       Kind = "local"       // the file cannot be written here
	Unreachable Kind = "unreachable" // no connection
	Handshake   Kind = "handshake"   // no TLS, or the certificate is not trusted
	Status      Kind = "status"      // the server answered with an error status
	Truncated   Kind = "truncated"   // the stream ended too early, or without close_notify where only that tells
	Alert       Kind = "alert"       // the server gave up, by a fatal alert
	Lost        Kind = "lost"        // reset, or damaged on the way
	TimedOut    Kind = "timeout"     // nothing came for too long
	Signature   Kind = "signature"   // no matching pair of file and signature
	Redirect    Kind = "redirect"    // a redirect that is not followed
	Protocol    Kind = "protocol"    // not HTTP, or not what was asked for
	Interrupted Kind = "interrupted"
)

// An Error is why there is no file.
type Error struct {
	Kind Kind
	// Problem is a sentence in lower case.
	Problem string
	// Hint says what to do; it may be empty.
	Hint string
	// Err is the error beneath, whose text Problem has; it may be nil.
	Err error
}

func (e *Error) Error() string { return e.Problem }
func (e *Error) Unwrap() error { return e.Err }

// local dresses an error of the file system.
func local(err error) *Error {
	return &Error{Local, fmt.Sprintf("cannot keep the download: %v", err), "check the folder of --output, and the room on its disk", err}
}

// explain tells what ended a request: err as net/http has it, and what the connection itself said last. where says
// how far it got.
func explain(ctx context.Context, err, end error, where string) *Error {
	var already *Error
	var handshake *tlsstream.HandshakeError
	var alert *tlsstream.AlertError
	var dial *net.OpError
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // where has the URL
	}
	// net/http makes other errors of some ends.
	cause := errors.Join(err, end)
	switch {
	case errors.As(err, &already):
		return already
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return &Error{TimedOut, "the time that --max-time allows was over " + where, "", err}
	case ctx.Err() != nil:
		return &Error{Interrupted, "interrupted " + where, "", err}
	case errors.As(err, &handshake) && isTimeout(err):
		return &Error{TimedOut, handshake.Error(), "raise --timeout, or try again later", err}
	case errors.As(err, &handshake):
		return &Error{Handshake, handshake.Error(), handshakeHint(handshake), err}
	case errors.As(err, &dial) && dial.Op == "dial" && isTimeout(err):
		return &Error{TimedOut, fmt.Sprintf("cannot connect: %v", dial), "raise --timeout, or try again later", err}
	case errors.As(err, &dial) && dial.Op == "dial":
		return &Error{Unreachable, fmt.Sprintf("cannot connect: %v", dial), "check the host and the port of the URL", err}
	case isTimeout(cause):
		return &Error{TimedOut, "the server went silent " + where, "raise --timeout, or try again later", err}
	case errors.As(cause, &alert) && alert.Remote:
		return &Error{Alert, fmt.Sprintf("the server gave up %s: %s", where, alertText(alert)), "", alert}
	case errors.As(cause, &alert):
		return &Error{Lost, fmt.Sprintf("the connection was damaged %s: %v", where, alert), "", err}
	case errors.Is(cause, tlsstream.ErrTruncated):
		return &Error{Truncated, fmt.Sprintf("the stream was cut %s: the connection ended without close_notify", where), "", err}
	case end == io.EOF:
		return &Error{Truncated, fmt.Sprintf("the server stopped too early, %s: it closed in good order, by close_notify", where), "", err}
	case errors.Is(cause, syscall.ECONNRESET) || errors.Is(cause, syscall.EPIPE):
		return &Error{Lost, "the connection was reset " + where, "", err}
	}
	return &Error{Protocol, fmt.Sprintf("the server sent something bad %s: %v", where, err), "", err}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// alertText is for an alert in the middle of a download, where the hints of its own error, which are for handshakes, do not fit.
func alertText(alert *tlsstream.AlertError) string {
	text := fmt.Sprintf("alert %v (%d)", alert.Alert, uint8(alert.Alert))
	if alert.Reason != "" {
		text += fmt.Sprintf(", %q", alert.Reason)
	}
	return text
}

func handshakeHint(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var alert *tlsstream.AlertError
	switch {
	case errors.As(err, &authority):
		return "give the authority that signed the server's certificate with --ca FILE"
	case errors.As(err, &name):
		return "use a host name that the server's certificate has"
	case errors.As(err, &alert) && alert.Remote && alert.Alert == tlsstream.AlertCertificateRequired:
		return "the server wants a client certificate, which this program does not have"
	}
	return "check that the port speaks TLS"
}
