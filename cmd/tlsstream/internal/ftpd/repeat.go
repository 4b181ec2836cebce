package ftpd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"sync"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A repeater sends the control connection's ticket again with the reply to a
// transfer whose data connection has resumed.
//
// OpenSSL takes a TLS 1.3 ticket for one connection only. crypto/tls sends one for
// each handshake, and the ones of data connections do not reach a client that does
// not read them: curl could upload one file where reuse is required, and not the
// next. A client reads its control connection, so that is where a ticket is safe; a
// copy of the message makes a session that OpenSSL has not used.
//
// It is below the layer, opens each record of the application epoch and seals it
// again at the sequence number that the copies have moved it to. Before that epoch,
// and without TLS 1.3, all passes as it is.
type repeater struct {
	*controlConn
	family *family

	// mu is for Close, which may come at any time: the layer above writes one
	// at a time.
	mu sync.Mutex
	// Guarded by mu.
	isTLS       bool
	partial     []byte // the begin of a record
	suite       uint16
	inner, wire *ticketdefer.Epoch // what crypto/tls is in, and what the client is in
	ticket      []byte             // the message
	err         error
}

// RFC 8446 5.1 and 4.
const (
	recordHeader       = 5
	recordHandshake    = 22
	recordApplication  = 23
	messageHeader      = 4
	messageTicket      = 4
	messageKeyUpdate   = 24
	messageLengthWidth = 3
)

func (r *repeater) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return 0, r.err
	case !r.isTLS && (len(p) == 0 || p[0] != recordHandshake):
		return r.controlConn.Write(p) // replies are digits until AUTH
	}
	r.isTLS = true
	r.partial = append(r.partial, p...)
	var out []byte
	rest := r.partial
	for len(rest) >= recordHeader {
		length := recordHeader + int(binary.BigEndian.Uint16(rest[3:]))
		if len(rest) < length {
			break
		}
		out, r.err = r.pass(out, rest[:length])
		if r.err != nil {
			return 0, r.err
		}
		rest = rest[length:]
	}
	r.partial = append(r.partial[:0], rest...)
	if len(out) > 0 {
		if _, r.err = r.controlConn.Write(out); r.err != nil {
			return 0, r.err
		}
	}
	return len(p), nil
}

// Close wipes the secrets when a Write in progress has come back.
func (r *repeater) Close() error {
	err := r.controlConn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = net.ErrClosed
	if r.inner != nil {
		r.inner.Wipe()
		r.wire.Wipe()
	}
	clear(r.family.controlSecret())
	return err
}

// pass appends to out what is to be sent for a record.
func (r *repeater) pass(out, record []byte) ([]byte, error) {
	if r.inner == nil && !r.begins(record) {
		return append(out, record...), nil
	}
	kind, content, err := r.inner.Open(nil, record)
	if err != nil {
		return out, err
	}
	if kind == recordApplication && r.ticket != nil && r.family.takeSpent() {
		out = r.wire.Seal(out, recordHandshake, r.ticket)
	}
	out = r.wire.Seal(out, kind, content)
	if kind != recordHandshake || len(content) < messageHeader {
		return out, nil
	}
	switch content[0] {
	case messageTicket:
		// One that spans records is not repeated.
		var length [4]byte
		copy(length[1:], content[1:1+messageLengthWidth])
		if len(content) == messageHeader+int(binary.BigEndian.Uint32(length[:])) {
			r.ticket = bytes.Clone(content)
		}
	case messageKeyUpdate:
		if err := r.inner.Update(); err != nil {
			return out, err
		}
		return out, r.wire.Update()
	}
	return out, nil
}

// begins reports whether record is the first of the application epoch: it opens.
func (r *repeater) begins(record []byte) bool {
	if r.suite == 0 {
		r.suite = ticketdefer.CipherSuiteOf(record)
	}
	secret := r.family.controlSecret()
	if r.suite == 0 || secret == nil {
		return false
	}
	trial, err := ticketdefer.NewEpoch(r.suite, secret)
	if err != nil {
		return false
	}
	_, _, err = trial.Open(nil, record)
	trial.Wipe()
	if err != nil {
		return false
	}
	if r.inner, err = ticketdefer.NewEpoch(r.suite, secret); err != nil {
		return false
	}
	if r.wire, err = ticketdefer.NewEpoch(r.suite, secret); err != nil {
		r.inner = nil
		return false
	}
	return true
}

// A secretTap takes the control connection's traffic secret on its way to the layer.
type secretTap struct {
	family *family
	next   io.Writer
}

const serverSecretLabel = "SERVER_TRAFFIC_SECRET_0 "

func (t *secretTap) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte(serverSecretLabel)) {
		if fields := bytes.Fields(line); len(fields) == 3 {
			if secret, err := hex.DecodeString(string(fields[2])); err == nil {
				t.family.setControlSecret(secret)
			}
		}
	}
	if t.next == nil {
		return len(line), nil
	}
	return t.next.Write(line)
}
