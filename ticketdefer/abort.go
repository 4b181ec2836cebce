package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"slices"
)

// ErrNoKeys is returned by Abort when this layer cannot seal an alert: the
// connection speaks TLS 1.2, or its secrets never came.
var ErrNoKeys = errors.New("ticketdefer: no traffic keys to seal an alert with")

// ErrEnded is returned by Abort when close_notify or an alert of Abort's has
// passed the gate already: nothing may follow (RFC 8446 6.1).
var ErrEnded = errors.New("ticketdefer: this direction has ended already")

// errNotFatal is what Abort returns for the two alerts that do not say that
// anything is wrong (RFC 8446 6.1): a stream cut short would pass for whole.
var errNotFatal = errors.New("ticketdefer: close_notify and user_canceled are not fatal alerts")

// errStuck is why an Abort could send nothing.
var errStuck = errors.New("ticketdefer: a Write in the transport did not return, though its deadline had passed")

const (
	alertLevelWarning = 1
	alertLevelFatal   = 2
)

// Abort ends this direction with a fatal alert. It returns the records to send,
// behind everything that Filter has returned: what is held, and the alert under
// the keys that the peer expects now (RFC 8446 6.2). From then on Filter
// discards everything.
//
// The TLS stack must be between two of its own steps: not in the middle of
// computing a flight. cipherSuite is needed while the gate has not seen a record
// of the application epoch: a server's gate knows it then, a client's caller
// must; zero means unknown. message, unless it is nil, is a post-handshake message
// to send before the alert; it is left out where there is no application epoch yet.
func (g *Gate) Abort(description uint8, cipherSuite uint16, message []byte) ([][]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.AbortLocked(description, cipherSuite, message)
}

// AbortLocked is Abort for a caller that has locked the gate.
func (g *Gate) AbortLocked(description uint8, cipherSuite uint16, message []byte) ([][]byte, error) {
	if description == alertCloseNotify || description == alertUserCanceled {
		return nil, errNotFatal
	}
	if cipherSuite == 0 {
		cipherSuite = g.suite
	}
	content := []byte{alertLevelFatal, description}
	var alert []byte
	switch g.phase {
	case phaseOff:
		return nil, ErrNoKeys
	case phaseClosed, phaseWiped:
		return nil, ErrEnded
	case phaseOwned:
		return g.abortOwned(description, message)
	case phaseHandshake:
		// Both sides change to the application's keys with their one sealed
		// flight. Its first record has been tried, and nothing has gone out
		// behind its last: that would have been recognised.
		secret := g.handshakeSecret
		secretIsOfEpoch := g.trials > 0 && len(g.candidates) > 0
		if secretIsOfEpoch {
			secret = g.candidates[0].secret
			// A peer can replay another connection's random. An alert under that
			// one's secret would share a nonce with its first record.
			if slices.ContainsFunc(g.candidates, func(c *candidate) bool { return !bytes.Equal(c.secret, secret) }) {
				return nil, ErrNoKeys
			}
		}
		if secret == nil {
			// Before ServerHello alerts are in the clear, and in TLS 1.2,
			// which may log no secret, before change_cipher_spec.
			if g.trials > 0 || g.changed && !isTLS13(cipherSuite) {
				return nil, ErrNoKeys
			}
			alert = append([]byte{recordAlert, 3, 3, 0, byte(len(content))}, content...)
			break
		}
		e, err := NewEpoch(cipherSuite, secret)
		if err != nil {
			return nil, ErrNoKeys
		}
		defer e.Wipe()
		if !secretIsOfEpoch && g.fatal != 0 {
			e.seq++ // a client's own alert took the first, see noteHandshakeAlert: no nonce is used twice
		}
		if message != nil && secretIsOfEpoch {
			alert = e.Seal(alert, recordHandshake, message)
		}
		alert = e.Seal(alert, recordAlert, content)
	default:
		e := g.inner
		if g.wire != nil {
			e = g.wire
		}
		if e.wake() != nil {
			return nil, ErrNoKeys
		}
		if message != nil {
			alert = e.Seal(alert, recordHandshake, message)
		}
		alert = e.Seal(alert, recordAlert, content)
	}
	g.cause = ReleaseAlert
	due := append(g.release(nil), alert)
	g.alerts.Add(1)
	g.note(Event{Kind: EventAlert, Alert: description, Known: true})
	g.close()
	g.aborted = true
	g.wipeCandidates()
	return due, nil
}

// serverHelloPrefix reaches the cipher suite in a ServerHello with the longest
// session id (RFC 8446 4.1.3).
const serverHelloPrefix = recordHeaderLen + messageHeaderLen + 2 + randomLen + 1 + 32 + 2

// CipherSuiteOf returns the cipher suite of the ServerHello with which a stream
// of records begins, or zero.
func CipherSuiteOf(records []byte) uint16 {
	const (
		messageServerHello = 2
		sessionIDAt        = recordHeaderLen + messageHeaderLen + 2 + randomLen
	)
	if len(records) <= sessionIDAt || records[0] != recordHandshake || records[recordHeaderLen] != messageServerHello {
		return 0
	}
	at := sessionIDAt + 1 + int(records[sessionIDAt])
	if len(records) < at+2 {
		return 0
	}
	return uint16(records[at])<<8 | uint16(records[at+1])
}

func isTLS13(cipherSuite uint16) bool { return cipherSuite>>8 == 0x13 }

// noteInboundHello tells a client's gate what it has received.
func (g *Gate) noteInboundHello(records []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.noteHello(records)
}

// noteHello learns from the server's hello which version is spoken: the suites of
// TLS 1.3 are its own (RFC 8446 B.4).
func (g *Gate) noteHello(records []byte) {
	suite := CipherSuiteOf(records)
	if suite == 0 || g.phase != phaseHandshake {
		return
	}
	g.suite = suite
	if suite>>8 != tls.TLS_AES_128_GCM_SHA256>>8 {
		g.setDeferral(DeferralTLS12)
	}
}

// keepHandshakeSecret is for a client, which sends nothing between the server's
// flight and its own Finished but, perhaps, an alert.
func (g *Gate) keepHandshakeSecret(secret []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client && g.phase == phaseHandshake && len(g.candidates) == 0 {
		g.handshakeSecret = bytes.Clone(secret)
	}
}
