package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unhex reads hexadecimal with spaces and line ends in it.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// RFC 8448 section 3, "Simple 1-RTT Handshake": the secrets, what is derived
// from them, and the application data records, which prove both.
func TestKeysAreThoseOfRFC8448(t *testing.T) {
	type vector struct {
		name, secret, key, iv string
		sequence              uint64 // of the record
		record                string
	}
	content := make([]byte, 50)
	for i := range content {
		content[i] = byte(i)
	}
	for _, v := range []vector{
		{
			name: "server handshake",
			secret: `b6 7b 7d 69 0c c1 6c 4e 75 e5 42 13 cb 2d 37 b4
				e9 c9 12 bc de d9 10 5d 42 be fd 59 d3 91 ad 38`,
			key: `3f ce 51 60 09 c2 17 27 d0 f2 e4 e8 6e e4 03 bc`,
			iv:  `5d 31 3e b2 67 12 76 ee 13 00 0b 30`,
		},
		{
			name: "client application data",
			secret: `9e 40 64 6c e7 9a 7f 9d c0 5a f8 88 9b ce 65 52
				87 5a fa 0b 06 df 00 87 f7 92 eb b7 c1 75 04 a5`,
			key: `17 42 2d da 59 6e d5 d9 ac d8 90 e3 c6 3f 50 51`,
			iv:  `5b 78 92 3d ee 08 57 90 33 e5 23 d9`,
			record: `17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe
				82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f
				2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b
				62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6
				3a ee bb 21 69 49 15 e4`,
		},
		{
			name: "server application data", // its ticket was record 0
			secret: `a1 1a f9 f0 55 31 f8 56 ad 47 11 6b 45 a9 50 32
				82 04 b4 f4 4b fb 6b 3a 4b 4f 1f 3f cb 63 16 43`,
			key:      `9f 02 28 3b 6c 9c 07 ef c2 6b b9 f2 ac 92 e3 56`,
			iv:       `cf 78 2b 88 dd 83 54 9a ad f1 e9 84`,
			sequence: 1,
			record: `17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad
				36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36
				e3 0e fa f9 7d 90 e6 df fc 60 2d cb 50 1a 59 a8
				fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54
				0d d0 32 e1 67 c2 95 5d`,
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			secret := unhex(t, v.secret)
			key := make([]byte, 16)
			suites[0].expandLabel(key, secret, "key")
			mustEqual(t, "key", unhex(t, v.key), key)
			e, err := NewEpoch(tls.TLS_AES_128_GCM_SHA256, secret)
			if err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "iv", unhex(t, v.iv), e.iv[:])
			if v.record == "" {
				return
			}
			record := unhex(t, v.record)
			e.seq = v.sequence
			contentType, got, err := e.Open(nil, record)
			if err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "content type", byte(recordApplicationData), contentType)
			mustEqual(t, "content", content, got)
			mustEqual(t, "sequence", v.sequence+1, e.Sequence())
			e.seq = v.sequence
			mustEqual(t, "sealed again", record, e.Seal(nil, contentType, got))
		})
	}
}

// sealPadded seals content with n bytes of padding behind it (RFC 8446 5.4).
func sealPadded(e *Epoch, dst []byte, contentType byte, content []byte, n int) []byte {
	if n == 0 {
		return e.Seal(dst, contentType, content)
	}
	inner := append(bytes.Clone(content), contentType)
	inner = append(inner, make([]byte, n-1)...)
	return e.Seal(dst, 0, inner)
}

// epochPair returns two epochs of the same secret.
func epochPair(t testing.TB, s *suite, fill byte) (a, b *Epoch) {
	t.Helper()
	secret := bytes.Repeat([]byte{fill}, s.hashLen)
	a, err := NewEpoch(s.id, secret)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = NewEpoch(s.id, secret); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestOpenTakesPaddingOff(t *testing.T) {
	for _, s := range suites {
		seal, open := epochPair(t, s, 1)
		for _, content := range []string{"", "x", "five!", "ends in zeros\x00\x00", strings.Repeat("long", 1000)} {
			for _, padding := range []int{0, 1, 2, 300} {
				record := sealPadded(seal, nil, recordHandshake, []byte(content), padding)
				mustEqual(t, "length", len(content)+sealedOverhead+padding, len(record))
				contentType, got, err := open.Open([]byte("before"), record)
				if err != nil || contentType != recordHandshake || string(got) != "before"+content {
					t.Errorf("%s, padding %d: type %d, content %q, error %v", tls.CipherSuiteName(s.id), padding, contentType, got, err)
				}
			}
		}
	}
}

// TestOpenLeavesTheEpochAsItWasOnFailure tries what must not open, and then
// that the right record still does.
func TestOpenLeavesTheEpochAsItWasOnFailure(t *testing.T) {
	for _, s := range suites {
		seal, open := epochPair(t, s, 2)
		_, other := epochPair(t, s, 3)
		first, second := seal.Seal(nil, recordApplicationData, []byte("first")), seal.Seal(nil, recordApplicationData, []byte("second"))
		onlyZeros := func(e *Epoch) []byte { return e.Seal(nil, 0, make([]byte, 40)) }
		flipped := func(i int) []byte {
			p := bytes.Clone(first)
			p[i] ^= 1
			return p
		}
		_, zeros := epochPair(t, s, 2)
		bad := map[string][]byte{
			"nothing":           nil,
			"header":            first[:recordHeaderLen],
			"too short":         first[:sealedOverhead-1],
			"cut off":           first[:len(first)-1],
			"one byte more":     append(bytes.Clone(first), 0),
			"next sequence":     second,
			"other key":         other.Seal(nil, recordApplicationData, []byte("first")),
			"type in header":    flipped(0),
			"version in header": flipped(2),
			"length in header":  flipped(4),
			"content":           flipped(recordHeaderLen),
			"tag":               flipped(len(first) - 1),
			"no content type":   onlyZeros(zeros),
		}
		for name, record := range bad {
			before := *open
			if _, _, err := open.Open(nil, record); !errors.Is(err, errOpen) {
				t.Errorf("%s, %s: error %v", tls.CipherSuiteName(s.id), name, err)
			}
			if before.seq != open.seq || before.iv != open.iv || !bytes.Equal(before.secret, open.secret) {
				t.Errorf("%s, %s: the epoch changed", tls.CipherSuiteName(s.id), name)
			}
		}
		for i, record := range [][]byte{first, second} {
			if _, _, err := open.Open(nil, record); err != nil {
				t.Errorf("%s: record %d does not open after failures", tls.CipherSuiteName(s.id), i)
			}
			if _, _, err := open.Open(nil, record); err == nil {
				t.Errorf("%s: record %d opened twice", tls.CipherSuiteName(s.id), i)
			}
		}
	}
}

// Past 2^8 and 2^32 records every byte of the sequence number takes part in the nonce.
func TestNonceCountsInAllItsBytes(t *testing.T) {
	e, _ := epochPair(t, suites[0], 4)
	seen := map[[12]byte]uint64{}
	for shift := range 64 {
		for _, seq := range []uint64{1 << shift, 1<<shift | 1} {
			e.seq = seq
			if old, ok := seen[[12]byte(e.nonce())]; ok && old != seq {
				t.Errorf("sequence %#x and %#x have the same nonce", old, seq)
			}
			seen[[12]byte(e.nonce())] = seq
		}
	}
	e.seq = 0
	mustEqual(t, "nonce 0", e.iv, [12]byte(e.nonce()))
	e.seq = 0x0102030405060708
	want := e.iv
	for i := range 8 {
		want[4+i] ^= byte(i + 1)
	}
	mustEqual(t, "nonce", want, [12]byte(e.nonce()))
}

func TestNewEpochRefusesWhatIsNoTLS13Secret(t *testing.T) {
	for _, c := range []struct {
		suite  uint16
		length int
	}{
		{tls.TLS_AES_128_GCM_SHA256, 31}, {tls.TLS_AES_128_GCM_SHA256, 48}, {tls.TLS_AES_256_GCM_SHA384, 32},
		{tls.TLS_CHACHA20_POLY1305_SHA256, 0}, {tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 32}, {0x1304, 32},
	} {
		if _, err := NewEpoch(c.suite, make([]byte, c.length)); err == nil {
			t.Errorf("%s with %d bytes: no error", tls.CipherSuiteName(c.suite), c.length)
		}
	}
}

// The caller's secret is neither kept nor changed; the epoch's own is
// overwritten when it ends.
func TestSecretsAreCopiedAndWiped(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	e, err := NewEpoch(tls.TLS_AES_128_GCM_SHA256, secret)
	if err != nil {
		t.Fatal(err)
	}
	first := e.secret
	if err := e.Update(); err != nil {
		t.Fatal(err)
	}
	second := e.secret
	e.Wipe()
	want := map[string][]byte{"caller's": bytes.Repeat([]byte{7}, 32), "first": make([]byte, 32), "second": make([]byte, 32)}
	if diff := cmp.Diff(want, map[string][]byte{"caller's": secret, "first": first, "second": second}); diff != "" {
		t.Errorf("secrets, -want +got:\n%s", diff)
	}
	(*Epoch)(nil).Wipe()
}

// Seal leaves no plaintext in memory that it gives up because a record does not fit: that
// may be from a pool.
func TestSealLeavesNoPlaintextBehind(t *testing.T) {
	e, err := NewEpoch(tls.TLS_AES_128_GCM_SHA256, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("secret"), 10)
	for room := range sealedOverhead + len(content) + 1 {
		old := make([]byte, room)
		record := e.Seal(old[:0], recordApplicationData, content)
		if bytes.Contains(old, []byte("secret")) {
			t.Errorf("with room for %d bytes of %d it does", room, len(record))
		}
	}
}
