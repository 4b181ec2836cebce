package tlsstream

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"slices"
	"sync"
	"unicode/utf8"
)

// TLS alerts carry no text. But a server may send a NewSessionTicket at any time
// (RFC 8446 4.6.1); its ticket is opaque to clients, and a client's session cache
// sees it. So the reason travels as the ticket of a NewSessionTicket, marked by
// reasonMagic, right before the alert. A client that knows nothing of this may store
// it in place of its good ticket; so the good one is sent once more behind it, and
// it costs a client's next connection nothing. (RFC 8446 6.2 has clients forget the tickets of a
// failed connection, and some do.)

// reasonMagic marks a ticket that is a reason. 16 random bytes: a real ticket
// begins with them once in 2^128.
var reasonMagic = []byte{0x9d, 0x3e, 0x61, 0xf2, 0x0b, 0xc8, 0x47, 0xaa, 0x85, 0x1f, 0xe0, 0x36, 0x7c, 0xd9, 0x52, 0x04}

// maxReason is the longest reason in bytes: some lines of text, and one record.
const maxReason = 1 << 10

// trimReason makes text valid UTF-8 of at most maxReason bytes.
func trimReason(text string) string {
	b := bytes.ToValidUTF8([]byte(text), []byte("\uFFFD"))
	if len(b) > maxReason {
		b = b[:maxReason]
		for !utf8.Valid(b) {
			b = b[:len(b)-1]
		}
	}
	return string(b)
}

// maxRepeatedTicket is the longest ticket in bytes that is kept to be repeated: with
// a reason it fits one record. Longer ones carry certificates.
const maxRepeatedTicket = 14 << 10

// reasonMessages returns what carries text: a NewSessionTicket message, and another
// with the client's good ticket, if there is one.
func reasonMessages(text string, good []byte) []byte {
	// The lifetime is in seconds; 0 would make clients skip the ticket.
	messages := ticketMessage(1, []byte{0xff}, slices.Concat(reasonMagic, []byte(text)))
	if good != nil {
		// As sendSessionTicket of crypto/tls: the nonce is a part of what the
		// client's key is made from.
		const lifetime = 7 * 24 * 60 * 60
		messages = append(messages, ticketMessage(lifetime, nil, good)...)
	}
	return messages
}

// ticketMessage returns a NewSessionTicket message (RFC 8446 4.6.1).
func ticketMessage(lifetime uint32, nonce, ticket []byte) []byte {
	const newSessionTicket = 4
	body := binary.BigEndian.AppendUint32(nil, lifetime)
	body = binary.BigEndian.AppendUint32(body, 0) // age_add; it matters to 0-RTT only
	body = append(body, byte(len(nonce)))
	body = append(body, nonce...)
	body = binary.BigEndian.AppendUint16(body, uint16(len(ticket)))
	body = append(body, ticket...)
	body = binary.BigEndian.AppendUint16(body, 0) // extensions
	return slices.Concat([]byte{newSessionTicket, 0, byte(len(body) >> 8), byte(len(body))}, body)
}

// A reasonCache is the session cache of one client connection: it takes out
// reasons, and passes tickets on.
type reasonCache struct {
	next tls.ClientSessionCache // may be nil

	mu     sync.Mutex
	reason string // guarded by mu
}

func (c *reasonCache) Get(key string) (*tls.ClientSessionState, bool) {
	if c.next == nil {
		return nil, false
	}
	return c.next.Get(key)
}

func (c *reasonCache) Put(key string, state *tls.ClientSessionState) {
	if state != nil {
		ticket, _, err := state.ResumptionState()
		if text, ok := bytes.CutPrefix(ticket, reasonMagic); ok && err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.reason = trimReason(string(text))
			return
		}
	}
	if c.next != nil {
		c.next.Put(key, state)
	}
}

func (c *reasonCache) get() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// offersModes reports whether a ClientHello has the psk_key_exchange_modes
// extension (RFC 8446 4.2.9), without which a client must not be sent tickets.
func offersModes(hello *tls.ClientHelloInfo) bool {
	const pskKeyExchangeModes = 45
	return slices.Contains(hello.Extensions, pskKeyExchangeModes)
}

// wireReasons sets config, which is this engine's own, up for reasons.
func (e *Engine) wireReasons(config *tls.Config) {
	if e.client {
		e.reasons = &reasonCache{next: config.ClientSessionCache}
		config.ClientSessionCache = e.reasons
		return
	}
	e.keepTicket(config)
	get := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (chosen *tls.Config, err error) {
		used := config
		if get != nil {
			chosen, err = get(hello)
		}
		if chosen != nil && err == nil {
			e.keepTicket(chosen) // it is this connection's own, too
			used = chosen
		}
		// Where crypto/tls makes no tickets, all that is known is that there are modes.
		e.sendsReasons = used.SessionTicketsDisabled && offersModes(hello)
		return chosen, err
	}
}

// keepTicket makes a server's engine remember the ticket that it gives the client.
// crypto/tls makes one if the client offers psk_dhe_ke.
func (e *Engine) keepTicket(config *tls.Config) {
	wrap := config.WrapSession // BindConfig sets it
	config.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		ticket, err := wrap(state, session)
		e.sendsReasons = err == nil
		if err == nil && len(ticket) <= maxRepeatedTicket {
			e.goodTicket = ticket
		}
		return ticket, err
	}
}
