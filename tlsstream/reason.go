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
// reasonMagic, right before the alert. A client that knows nothing of this stores a
// ticket that is of no use, if it stores tickets of failed connections at all,
// and makes one full handshake more; so nothing is sent unless asked for.

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

// reasonMessage returns the NewSessionTicket message (RFC 8446 4.6.1) that
// carries text.
func reasonMessage(text string) []byte {
	const newSessionTicket = 4
	ticket := slices.Concat(reasonMagic, []byte(text))
	body := binary.BigEndian.AppendUint32(nil, 1) // lifetime in seconds; 0 makes clients skip the ticket
	body = binary.BigEndian.AppendUint32(body, 0) // age_add
	body = append(body, 1, 0xff)                  // nonce: one byte, and not crypto/tls's, which is empty
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

// offersTickets reports whether a ClientHello has the psk_key_exchange_modes
// extension (RFC 8446 4.2.9), without which a client must not be sent tickets.
func offersTickets(hello *tls.ClientHelloInfo) bool {
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
	get := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		e.sendsReasons.Store(offersTickets(hello))
		if get == nil {
			return nil, nil
		}
		return get(hello)
	}
}
