package probe

import (
	"net"
	"time"
)

// Record types and lengths (RFC 8446 5.1, 5.2).
const (
	recordCCS       = 20
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23

	headerBytes   = 5
	maxPlaintext  = 1 << 14
	maxCiphertext = maxPlaintext + 256
)

// seenBytes is how much of the server's first bytes is kept for error messages.
const seenBytes = 64

// A transport carries a handshake. It hands over one record at a time and never a byte of the next, so that crypto/tls
// has swallowed nothing of what follows when its handshake is done. It keeps back what the client sends under
// encryption, its Finished, until release: meanwhile only what the server sends without it can come.
type transport struct {
	net.Conn

	header [headerBytes]byte
	have   int // bytes of header read
	body   int // bytes of the record's body still to come

	seen []byte

	holding bool
	held    []byte
}

func (t *transport) Read(p []byte) (int, error) {
	if t.body > 0 {
		n, err := t.Conn.Read(p[:min(len(p), t.body)])
		t.body -= n
		return n, err
	}
	n, err := t.Conn.Read(p[:min(len(p), len(t.header)-t.have)])
	t.seen = append(t.seen, p[:min(n, seenBytes-len(t.seen))]...)
	t.have += copy(t.header[t.have:], p[:n])
	if t.have == len(t.header) {
		t.have = 0
		t.body = int(t.header[3])<<8 | int(t.header[4])
	}
	return n, err
}

// Write is given whole records.
func (t *transport) Write(p []byte) (int, error) {
	pass := 0
	for t.holding && len(t.held) == 0 && pass+headerBytes <= len(p) && p[pass] != recordData {
		pass += headerBytes + (int(p[pass+3])<<8 | int(p[pass+4]))
	}
	if !t.holding {
		pass = len(p)
	}
	pass = min(pass, len(p))
	if pass > 0 {
		if n, err := t.Conn.Write(p[:pass]); err != nil {
			return n, err
		}
	}
	t.held = append(t.held, p[pass:]...)
	return len(p), nil
}

// release sends what was held, and holds nothing any more.
func (t *transport) release() error {
	t.holding = false
	_, err := t.Conn.Write(t.held)
	t.held = nil
	return err
}

// glance reads what the server has said that is no TLS record, as far as it is there.
func (t *transport) glance() {
	if len(t.seen) == 0 || looksLikeTLS(t.seen) {
		return
	}
	t.Conn.SetReadDeadline(time.Now().Add(glanceTime))
	rest := make([]byte, seenBytes-len(t.seen))
	n, _ := t.Conn.Read(rest)
	t.seen = append(t.seen, rest[:n]...)
}

// glanceTime is for the rest of a banner, which comes with its beginning.
const glanceTime = 50 * time.Millisecond
