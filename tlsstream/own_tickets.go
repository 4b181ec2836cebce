package tlsstream

import (
	"crypto/tls"
	"errors"

	"golang.org/x/crypto/cryptobyte"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A ticketTaker hands a client's tickets to crypto/tls, which alone can make a session of
// one: what goes into the cache, and what the key of the next connection is made
// from, is not to be had from outside. So the client keeps its *tls.Conn, cut off from the
// wire, in the state in which it finished the handshake, and each ticket is sealed again, as
// that one expects its next record to be. A byte of application data behind it makes its Read
// return, and its count of useless messages begin anew. A KeyUpdate is passed on too, so
// that its old keys die with ours.
//
// A nil *ticketTaker drops tickets. Calls are the reader's, under its lock; the session cache
// is called under it, as crypto/tls does under its own.
type ticketTaker struct {
	conn  *tls.Conn
	under *ownConn
	epoch *ticketdefer.Epoch // conn's, for reading
}

// take hands over one NewSessionTicket message. If crypto/tls refuses it, it returns the
// alert that was due, and crypto/tls's error.
func (t *ticketTaker) take(message []byte) (Alert, error) {
	if t == nil {
		return 0, nil
	}
	var records []byte
	for len(message) > 0 {
		n := min(len(message), maxContent)
		records = t.epoch.Seal(records, contentHandshake, message[:n])
		message = message[n:]
	}
	return t.pass(records)
}

// update hands over a KeyUpdate.
func (t *ticketTaker) update() (Alert, error) {
	if t == nil {
		return 0, nil
	}
	record := t.epoch.Seal(nil, contentHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0})
	if err := t.epoch.Update(); err != nil {
		return AlertInternalError, err
	}
	return t.pass(record)
}

func (t *ticketTaker) pass(records []byte) (Alert, error) {
	var b [1]byte
	t.under.pass(t.epoch.Seal(records, contentData, b[:]))
	n, err := t.conn.Read(b[:])
	if n == 1 && err == nil {
		return 0, nil
	}
	if err == nil || err == ErrWantRead {
		err = errors.New("tlsstream: internal error: crypto/tls has lost its place in the peer's records")
	}
	// What it would have sent is its Write's error from then on.
	if _, writeErr := t.conn.Write(nil); writeErr != nil {
		if alert, _, ok := alertOf(writeErr); ok {
			return alert, err
		}
	}
	return AlertInternalError, err
}

func (t *ticketTaker) wipe() {
	if t != nil {
		t.epoch.Wipe()
	}
}

// wellFormedTicket reports whether crypto/tls would parse body as that of a
// NewSessionTicket (RFC 8446 4.6.1).
func wellFormedTicket(body []byte) bool {
	const earlyData = 42
	s := cryptobyte.String(body)
	var nonce, ticket, extensions cryptobyte.String
	if !s.Skip(4+4) || // lifetime and age_add
		!s.ReadUint8LengthPrefixed(&nonce) ||
		!s.ReadUint16LengthPrefixed(&ticket) ||
		!s.ReadUint16LengthPrefixed(&extensions) ||
		!s.Empty() {
		return false
	}
	for !extensions.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&data) {
			return false
		}
		if kind == earlyData && len(data) != 4 {
			return false
		}
	}
	return true
}
