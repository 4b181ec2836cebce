package tlsstream

import (
	"bytes"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A buffer that another stream may get next holds no plaintext of this one's.
func TestPooledBuffersHoldNoPlaintext(t *testing.T) {
	const suite = 0x1301
	e, err := ticketdefer.NewEpoch(suite, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("for nobody else's eyes")
	wire := &transport{started: true}
	wire.in.Write(e.Clone().Seal(nil, contentData, secret))
	r := &ownReader{wire: wire, epoch: e}
	if n, err := r.read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	b := r.buffer
	if b == nil || !bytes.Contains(b[:], secret[1:]) {
		t.Fatal("the test looks in the wrong place")
	}
	if n, err := r.read(make([]byte, 100)); n != len(secret)-1 || err != nil {
		t.Fatal(n, err)
	}
	if r.buffer != nil || bytes.Contains(b[:], secret[len(secret)/2:]) {
		t.Error("it does")
	}
}

// Nor does one in which records were moved to the front, over longer ones that had been opened.
func TestPooledBuffersHoldNoPlaintextOfLongerRecords(t *testing.T) {
	e, err := ticketdefer.NewEpoch(0x1301, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	peer := e.Clone()
	secret := bytes.Repeat([]byte("secret"), maxContent/6)
	records := peer.Seal(peer.Seal(nil, contentData, secret), contentData, make([]byte, 4000))
	wire := &transport{started: true}
	wire.in.Write(records)
	r := &ownReader{wire: wire, epoch: e}
	var b *rawBuffer
	for left := len(secret) + 4000; left > 0; {
		n, err := r.read(make([]byte, min(left, 1000)))
		if err != nil {
			t.Fatal(err)
		}
		if r.buffer != nil {
			b = r.buffer
		}
		left -= n
	}
	if r.buffer != nil || b == nil {
		t.Fatal("the test looks in the wrong place")
	}
	if bytes.Contains(b[:], []byte("secret")) {
		t.Error("it does")
	}
}
