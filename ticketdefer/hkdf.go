package ticketdefer

import (
	"crypto/sha256"
	"crypto/sha512"
)

const maxKeyLen = 32 // of AES-256 and of ChaCha20

// expandLabel fills dst with HKDF-Expand-Label(secret, label, "", len(dst)) (RFC 8446
// 7.1). dst is no longer than the suite's hash, so this is one HMAC of RFC 5869 2.3.
//
// It is not crypto/hkdf's, which costs twenty allocations and 2 KB a label, for each of
// the labels of each handshake, and of each KeyUpdate that a peer asks for.
func (s *suite) expandLabel(dst, secret []byte, label string) {
	const prefix = "tls13 "
	var message [64]byte // more than any label here needs
	m := append(message[:0], byte(len(dst)>>8), byte(len(dst)), byte(len(prefix)+len(label)))
	m = append(m, prefix...)
	m = append(m, label...)
	m = append(m, 0, 1) // no context; the first block

	var out [sha512.Size384]byte
	defer clear(out[:])
	s.hmac(out[:s.hashLen], secret, m)
	copy(dst, out[:])
}

// hmac is HMAC with the suite's hash (RFC 2104), of a message of at most 64 bytes,
// under a key no longer than the hash.
func (s *suite) hmac(dst, key, message []byte) {
	const inner, outer = 0x36, 0x5c
	blockLen := sha256.BlockSize
	if s.hashLen == sha512.Size384 {
		blockLen = sha512.BlockSize
	}
	var buf [sha512.BlockSize + 64]byte
	defer clear(buf[:])
	pad := func(with byte) []byte {
		block := buf[:blockLen]
		n := copy(block, key)
		clear(block[n:])
		for i := range block {
			block[i] ^= with
		}
		return block
	}
	s.sum(dst, append(pad(inner), message...))
	s.sum(dst, append(pad(outer), dst...))
}

func (s *suite) sum(dst, p []byte) {
	if s.hashLen == sha512.Size384 {
		sum := sha512.Sum384(p)
		copy(dst, sum[:])
		return
	}
	sum := sha256.Sum256(p)
	copy(dst, sum[:])
}
