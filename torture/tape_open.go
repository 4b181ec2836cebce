package torture

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// What Event.Inner says of records.
const (
	innerApplicationData = "application_data"
	innerKeyUpdate       = "key_update"
	innerOpaque          = "opaque"
)

// Message types that the opener acts on, RFC 8446 section 4.
const (
	messageClientHello = 1
	messageServerHello = 2
	messageFinished    = 20
)

var messageNames = map[byte]string{
	0: "hello_request", messageClientHello: "client_hello", messageServerHello: "server_hello", 4: "new_session_ticket",
	5: "end_of_early_data", 8: "encrypted_extensions", 11: "certificate", 12: "server_key_exchange",
	13: "certificate_request", 14: "server_hello_done", 15: "certificate_verify", 16: "client_key_exchange",
	messageFinished: "finished", 22: "certificate_status", messageKeyUpdate: innerKeyUpdate, 25: "compressed_certificate",
}

// helloRetryRequest begins the random of a ServerHello that is a HelloRetryRequest (RFC 8446 4.1.3).
const helloRetryRequest = "cf21ad74e59a6111be1d8c021e65b891"

// An opener opens the records of both directions of a connection after the fact, with the secrets that the connection
// logged. What it cannot open it calls opaque, and goes on.
type opener struct {
	secrets map[secretID][]byte
	random  string // of the ClientHello, in hexadecimal
	suite   uint16
	sides   [2]openerSide
}

// An openerSide is one direction.
type openerSide struct {
	phase openerPhase
	epoch *ticketdefer.Epoch

	// message is the beginning of a handshake message whose end has not come.
	message []byte
}

type openerPhase uint8

const (
	phasePlain openerPhase = iota
	phaseHandshake
	phaseApplication
)

// secretLabels are those of the key log, by phase and side.
var secretLabels = [...][2]string{
	phaseHandshake:   {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"},
	phaseApplication: {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"},
}

// opened is what an opener can tell of a record.
type opened struct {
	inner   string
	content int64
	text    string

	// postHandshake is set for handshake messages in the application epoch.
	postHandshake bool
}

// open opens the next record of a side. The record is nil if it was not kept.
func (o *opener) open(side int, record []byte) opened {
	s := &o.sides[side]
	switch {
	case record == nil:
		if s.phase == phaseApplication && s.epoch != nil {
			s.epoch.Seal(nil, 0, nil) // counts it
		}
		return opened{inner: innerOpaque, text: "not kept"}
	case record[0] != typeApplicationData:
		return o.openPlain(side, record)
	}
	for {
		if s.epoch != nil {
			contentType, content, err := s.epoch.Open(nil, record)
			if err == nil {
				return o.describe(side, contentType, content)
			}
		}
		if !o.advance(side) {
			return opened{inner: innerOpaque}
		}
	}
}

// advance goes to the side's next phase for which there is a secret.
func (o *opener) advance(side int) bool {
	s := &o.sides[side]
	for phase := s.phase + 1; phase <= phaseApplication; phase++ {
		secret := o.secrets[secretID{secretLabels[phase][side], o.random}]
		epoch, err := ticketdefer.NewEpoch(o.suite, secret)
		if err != nil {
			continue // there is no secret, or no such suite
		}
		s.epoch.Wipe()
		s.phase, s.epoch = phase, epoch
		return true
	}
	return false
}

// openPlain describes a record that has no protection of TLS 1.3.
func (o *opener) openPlain(side int, record []byte) opened {
	body := record[headerBytes:]
	switch {
	case record[0] == typeChangeCipherSpec:
		return opened{inner: "change_cipher_spec"}
	case record[0] == typeHandshake && len(body) > 0 && body[0] == messageClientHello && len(o.sides[side].message) == 0:
		// A new session, perhaps after an old one on the same transport; or the second hello of the same.
		o.wipe()
	case o.sides[side].phase != phasePlain:
		return opened{inner: innerOpaque}
	}
	return o.describe(side, record[0], body)
}

// describe names what is inside of a record, and follows the handshake.
func (o *opener) describe(side int, contentType byte, content []byte) opened {
	r := opened{content: int64(len(content))}
	switch contentType {
	case typeApplicationData:
		r.inner = innerApplicationData
	case typeAlert:
		r.inner = innerOpaque
		if len(content) == 2 {
			r.inner = "alert " + strings.TrimPrefix(tlsstream.Alert(content[1]).String(), "tls: ")
		}
	case typeHandshake:
		r.postHandshake = o.sides[side].phase == phaseApplication
		r.inner, r.text = o.messages(side, content)
	default:
		r.inner = fmt.Sprintf("content type %d", contentType)
	}
	return r
}

// messages names the handshake messages in a record, of which the first may have begun and the last may end elsewhere.
func (o *opener) messages(side int, content []byte) (names, text string) {
	s := &o.sides[side]
	goesOn := len(s.message) > 0
	s.message = append(s.message, content...)
	var list []string
	for len(s.message) > 0 {
		name := messageNames[s.message[0]]
		if name == "" {
			name = fmt.Sprintf("message %d", s.message[0])
		}
		end := maxRecord // of a message that is not even there with its header
		if len(s.message) >= 4 {
			end = 4 + int(s.message[1])<<16 + int(s.message[2])<<8 + int(s.message[3])
		}
		if len(s.message) < end {
			if goesOn {
				name += " (goes on)"
			} else {
				name += " (begins)"
			}
			list = append(list, name)
			break
		}
		message := s.message[:end]
		s.message = s.message[end:]
		if goesOn {
			name += " (ends)"
		}
		goesOn = false
		if message[0] == messageServerHello && strings.HasPrefix(hexAt(message, 6, 32), helloRetryRequest) {
			name = "hello_retry_request"
		}
		if message[0] == messageKeyUpdate && end == 5 && message[4] == 1 {
			text = "asks for an answer"
		}
		list = append(list, name)
		o.follow(side, message)
	}
	return strings.Join(list, ", "), text
}

// follow does what a message means for the keys.
func (o *opener) follow(side int, message []byte) {
	s := &o.sides[side]
	switch message[0] {
	case messageClientHello:
		if s.phase == phasePlain {
			o.random = hexAt(message, 6, 32)
		}
	case messageServerHello:
		if at := 4 + 2 + 32; s.phase == phasePlain && len(message) > at {
			if at += 1 + int(message[at]); len(message) >= at+2 {
				o.suite = uint16(message[at])<<8 | uint16(message[at+1])
			}
		}
	case messageFinished:
		if s.phase == phaseHandshake {
			o.advance(side)
		}
	case messageKeyUpdate:
		if s.phase == phaseApplication && s.epoch.Update() != nil {
			s.epoch.Wipe()
			s.epoch = nil
		}
	}
}

// wipe forgets the keys of both directions.
func (o *opener) wipe() {
	for i := range o.sides {
		o.sides[i].epoch.Wipe()
		o.sides[i] = openerSide{}
	}
}

// hexAt is p[at:at+n] in hexadecimal, or nothing if p is too short.
func hexAt(p []byte, at, n int) string {
	if len(p) < at+n {
		return ""
	}
	return hex.EncodeToString(p[at : at+n])
}
