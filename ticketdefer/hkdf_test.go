package ticketdefer

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestExpandLabelIsHKDF compares with crypto/hkdf.
func TestExpandLabelIsHKDF(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, s := range suites {
		newHash := sha256.New
		if s.hashLen == sha512.Size384 {
			newHash = sha512.New384
		}
		for range 100 {
			secret := make([]byte, s.hashLen)
			random.Read(secret)
			for label, n := range map[string]int{"key": s.keyLen, "iv": 12, "traffic upd": s.hashLen} {
				got := make([]byte, n)
				s.expandLabel(got, secret, label)
				if want := hkdfLabel(t, newHash, secret, label, n); !bytes.Equal(got, want) {
					t.Fatalf("%#x, %s: got %x, want %x", s.id, label, got, want)
				}
			}
		}
	}
}

func hkdfLabel(t *testing.T, newHash func() hash.Hash, secret []byte, label string, n int) []byte {
	info := slices.Concat([]byte{byte(n >> 8), byte(n), byte(6 + len(label))}, []byte("tls13 "+label), []byte{0})
	p, err := hkdf.Expand(newHash, secret, string(info), n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestExpandLabelAllocatesNothing(t *testing.T) {
	secret, out := make([]byte, maxSecretLen), make([]byte, maxSecretLen)
	for _, s := range suites {
		if n := testing.AllocsPerRun(100, func() { s.expandLabel(out[:s.hashLen], secret[:s.hashLen], "traffic upd") }); n != 0 {
			t.Errorf("%#x: %v allocations", s.id, n)
		}
	}
}
