package torture

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"testing"
)

// Where a flight ends must not differ from run to run of a seed.
func TestECDSASignaturesHaveOneLength(t *testing.T) {
	key, err := newEvenECDSA([32]byte{0xff, 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		digest := sha256.Sum256([]byte{byte(i)})
		signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil || len(signature) != evenSignature {
			t.Fatalf("a signature of %d bytes, %v", len(signature), err)
		}
	}
}
