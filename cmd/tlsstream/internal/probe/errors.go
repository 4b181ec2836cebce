package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// A Class is the kind of an Error.
type Class string

const (
	Unreachable    Class = "unreachable"     // no connection
	NotTLS         Class = "not-tls"         // it answers, but not with a TLS handshake that succeeds
	BadCertificate Class = "bad-certificate" // its certificate was not accepted
	OldTLS         Class = "old-tls"         // it speaks TLS 1.2 or older
	Silent         Class = "silent"          // it did not answer in time
	Interrupted    Class = "interrupted"
)

// An Error tells why a server could not be probed.
type Error struct {
	Class Class
	Side  string // "server", "network" or "client": where the cause is
	Stage string // what was being done
	Err   error
	Hint  string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s failed, on the side of the %s: %s", e.Stage, e.Side, e.Cause())
}

// Cause is the error beneath, fit to print: it may have names in it that the server chose.
func (e *Error) Cause() string {
	text := e.Err.Error()
	if op, ok := errors.AsType[*net.OpError](e.Err); ok {
		text = op.Err.Error()
		if op.Op == "remote error" {
			text = "it answered with an alert: " + text
		}
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

func (e *Error) Unwrap() error { return e.Err }

// The stages.
const (
	stageConnect   = "connecting"
	stagePreamble  = "asking for TLS"
	stageHandshake = "TLS handshake"
	stageWatch     = "watching the server"
)

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func connectError(err error) *Error {
	e := &Error{Class: Unreachable, Side: "network", Stage: stageConnect, Err: err,
		Hint: "check the address, and that nothing in between blocks it"}
	switch dns, ok := errors.AsType[*net.DNSError](err); {
	case ok && dns.IsNotFound:
		e.Side, e.Hint = "client", "check the spelling of the host's name"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Side, e.Hint = "server", "nothing listens there: check the port, and that the server runs"
	case isTimeout(err):
		e.Hint = "no answer at all: check the address, or whether a firewall drops packets; --timeout gives more time"
	}
	return e
}

// handshakeError explains why no handshake came about. seen is the beginning of what the server sent.
func handshakeError(err error, seen []byte, o *Options) *Error {
	e := &Error{Class: NotTLS, Side: "server", Stage: stageHandshake, Err: err,
		Hint: "check that it is a TLS port, and the name (--servername)"}
	text := err.Error()
	switch {
	case isCertificate(err):
		e.Class, e.Err = BadCertificate, certificateCause(err)
		e.Hint = "--servername for another name, --ca for another authority, --insecure to probe it all the same"
	case len(seen) > 0 && !looksLikeTLS(seen):
		e.Err = fmt.Errorf("it does not speak TLS here: it says %s", printable(seen))
		e.Hint = plaintextHint(seen, o.StartTLS)
	case isTimeout(err) && len(seen) == 0:
		e.Class, e.Err = Silent, errors.New("no answer to the ClientHello in time")
		e.Hint = "is it a TLS port? if TLS has to be asked for, give --starttls; --timeout gives more time"
	case isTimeout(err):
		e.Class, e.Err = Silent, errors.New("it stopped in the middle of the handshake")
		e.Hint = "--timeout gives more time"
	case (isEOF(err) || isReset(err)) && len(seen) == 0:
		e.Err = errors.New("it closed the connection on the ClientHello")
		e.Hint = "if TLS has to be asked for, give --starttls; some servers want a name (--servername)"
	case strings.Contains(text, "no application protocol"):
		e.Hint = "name a protocol it speaks with --alpn, or none: --alpn ''"
	case strings.Contains(text, "unrecognized name"):
		e.Hint = "give a name it knows with --servername"
	case strings.Contains(text, "protocol version"):
		e.Class = OldTLS
		e.Hint = oldHint
	}
	return e
}

const oldHint = "TLS 1.2 sends its tickets inside the handshake, so there is nothing to probe; renegotiation aside, clients that only write are safe"

// isCertificate recognises what verification returns. utls has a CertificateVerificationError of its own, with an error of
// crypto/x509 in it.
func isCertificate(err error) bool {
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	return host || invalid || authority || verification
}

// certificateCause drops the prefixes that say "certificate" again.
func certificateCause(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if strings.HasPrefix(inner.Error(), "x509: ") {
			return inner
		}
	}
	return err
}

// looksLikeTLS takes the record types of RFC 8446 5.1 for TLS.
func looksLikeTLS(seen []byte) bool { return seen[0] >= recordCCS && seen[0] <= recordData }

func plaintextHint(seen []byte, startTLS string) string {
	text := string(seen)
	for _, guess := range []struct{ begins, hint string }{
		{"HTTP/", "this is a plain HTTP port; HTTPS is mostly on 443"},
		{"220", "give --starttls ftp or --starttls smtp"},
		{"* OK", "give --starttls imap"},
		{"+OK", "give --starttls pop3"},
		{"<", "give --starttls xmpp"},
		{"SSH-", "this is an SSH server"},
	} {
		if strings.HasPrefix(text, guess.begins) && startTLS == "" {
			return guess.hint
		}
	}
	return "check that it is a TLS port; if TLS has to be asked for, give --starttls"
}

// printable is the first line of what a peer said, fit to print.
func printable(b []byte) string {
	const most = 40
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimRight(line, "\r")
	if len(line) > most {
		line = line[:most] + "..."
	}
	return fmt.Sprintf("%q", line)
}
