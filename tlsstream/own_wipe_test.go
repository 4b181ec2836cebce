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
