package tlsstream

import (
	"sync"
	"sync/atomic"
)

// An ownConn is the net.Conn under crypto/tls with Options.OwnRecords. It hands over
// nothing past the record that crypto/tls is reading, header first, so that behind
// the handshake the stream goes on here, and not in a buffer of crypto/tls. After the
// takeover it is cut off from the wire: crypto/tls reads what is passed to it, and what
// it writes is discarded, by the gate.
type ownConn struct {
	*transport

	free  atomic.Bool // the records remain crypto/tls's: hand over whatever there is
	taken atomic.Bool // the records are ours

	// Guarded by crypto/tls's lock for reading.
	header [5]byte
	have   int // bytes of header that were handed over
	body   int // bytes of the record's body that were not

	mu     sync.Mutex
	passed []byte // what crypto/tls is to read after the takeover; guarded by mu
}

func (c *ownConn) Read(p []byte) (int, error) {
	switch {
	case c.free.Load():
		return c.transport.Read(p)
	case c.taken.Load():
		return c.readPassed(p)
	}
	if c.body > 0 {
		n, err := c.transport.readAtMost(p, c.body)
		c.body -= n
		return n, err
	}
	n, err := c.transport.readAtMost(p, len(c.header)-c.have)
	copy(c.header[c.have:], p[:n])
	c.have += n
	if c.have == len(c.header) {
		c.have, c.body = 0, int(c.header[3])<<8|int(c.header[4])
	}
	return n, err
}

func (c *ownConn) readPassed(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.passed) == 0 {
		return 0, ErrWantRead
	}
	n := copy(p, c.passed)
	c.passed = c.passed[n:]
	return n, nil
}

// pass gives crypto/tls records to read.
func (c *ownConn) pass(records []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed = records
}

// Close is crypto/tls's. A *tls.Conn that somebody has kept must not end the stream.
func (c *ownConn) Close() error {
	if c.taken.Load() {
		return nil
	}
	return c.transport.Close()
}
