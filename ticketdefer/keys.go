package ticketdefer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// A suite is what record protection needs to know of a TLS 1.3 cipher suite
// (RFC 8446 B.4).
type suite struct {
	id     uint16
	keyLen int
	hash   func() hash.Hash
	aead   func(key []byte) (cipher.AEAD, error)
}

var suites = []*suite{
	{tls.TLS_AES_128_GCM_SHA256, 16, sha256.New, newAESGCM},
	{tls.TLS_AES_256_GCM_SHA384, 32, sha512.New384, newAESGCM},
	{tls.TLS_CHACHA20_POLY1305_SHA256, chacha20poly1305.KeySize, sha256.New, chacha20poly1305.New},
}

func newAESGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// errOpen is returned for a record that does not authenticate.
var errOpen = errors.New("ticketdefer: record does not open")

// An Epoch protects the records of one direction under one traffic secret: it
// seals and opens them at a sequence number that counts from zero (RFC 8446
// 5.2, 5.3). An Epoch is not safe for concurrent use.
//
// The gate uses it to recognise what crypto/tls wrote; tests and the torture
// program use it to play a peer that can send any record.
type Epoch struct {
	suite  *suite
	secret []byte
	aead   cipher.AEAD
	iv     [12]byte
	seq    uint64

	scratch [12]byte // the nonce of the record at work: what an interface is called with escapes
}

// NewEpoch makes the epoch that begins with the given traffic secret, as the
// key log shows it. cipherSuite is one of the three TLS 1.3 suites that
// crypto/tls knows. The secret is copied.
func NewEpoch(cipherSuite uint16, secret []byte) (*Epoch, error) {
	for _, s := range suites {
		if s.id == cipherSuite {
			if len(secret) != s.hash().Size() {
				return nil, fmt.Errorf("ticketdefer: traffic secret of %d bytes for %s", len(secret), tls.CipherSuiteName(cipherSuite))
			}
			return newEpoch(s, slices.Clone(secret))
		}
	}
	return nil, fmt.Errorf("ticketdefer: %s is not a TLS 1.3 cipher suite known here", tls.CipherSuiteName(cipherSuite))
}

// newEpoch owns secret from now on.
func newEpoch(s *suite, secret []byte) (*Epoch, error) {
	key, err := expandLabel(s, secret, "key", s.keyLen)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	iv, err := expandLabel(s, secret, "iv", len(Epoch{}.iv))
	if err != nil {
		return nil, err
	}
	aead, err := s.aead(key)
	if err != nil {
		// crypto/cipher refuses GCM with our nonces when GODEBUG=fips140=only.
		return nil, err
	}
	e := &Epoch{suite: s, secret: secret, aead: aead}
	copy(e.iv[:], iv)
	return e, nil
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 7.1).
func expandLabel(s *suite, secret []byte, label string, length int) ([]byte, error) {
	const prefix = "tls13 "
	info := make([]byte, 0, 4+len(prefix)+len(label))
	info = append(info, byte(length>>8), byte(length), byte(len(prefix)+len(label)))
	info = append(info, prefix...)
	info = append(info, label...)
	info = append(info, 0)
	return hkdf.Expand(s.hash, secret, string(info), length)
}

// Update moves to the next generation of keys, as after a KeyUpdate, and wipes
// the secret of the last (RFC 8446 7.2).
func (e *Epoch) Update() error {
	next, err := e.next()
	if err != nil {
		return err
	}
	clear(e.secret)
	*e = *next
	return nil
}

// next is the epoch that follows e; e stays as it is.
func (e *Epoch) next() (*Epoch, error) {
	secret, err := expandLabel(e.suite, e.secret, "traffic upd", len(e.secret))
	if err != nil {
		return nil, err
	}
	return newEpoch(e.suite, secret)
}

// Clone copies e, secret included, so that either can be wiped.
func (e *Epoch) Clone() *Epoch {
	c := *e
	c.secret = slices.Clone(e.secret)
	return &c
}

// Sequence is the number of records sealed or opened so far in this epoch.
func (e *Epoch) Sequence() uint64 { return e.seq }

// nonce is the per-record nonce of RFC 8446 5.3. It is overwritten by the next call.
func (e *Epoch) nonce() []byte {
	e.scratch = e.iv
	for i := range 8 {
		e.scratch[4+i] ^= byte(e.seq >> (56 - 8*i))
	}
	return e.scratch[:]
}

// Open opens one whole record, header included, at the current sequence
// number. It appends the content, without padding, to dst and returns it with
// the record's inner content type. On success the sequence number advances; on
// failure the epoch is unchanged. dst must not overlap record.
func (e *Epoch) Open(dst, record []byte) (contentType byte, content []byte, err error) {
	if len(record) < sealedOverhead || record[0] != recordApplicationData {
		return 0, nil, errOpen
	}
	plain, err := e.aead.Open(dst, e.nonce(), record[recordHeaderLen:], record[:recordHeaderLen])
	if err != nil {
		return 0, nil, errOpen
	}
	end := len(plain) - 1
	for end >= len(dst) && plain[end] == 0 {
		end--
	}
	if end < len(dst) {
		return 0, nil, errOpen
	}
	e.seq++
	return plain[end], plain[:end], nil
}

// Seal appends to dst one record that carries content, at most 16,384 bytes, as
// the given inner content type, and advances the sequence number.
func (e *Epoch) Seal(dst []byte, contentType byte, content []byte) []byte {
	n := len(content) + 1 + e.aead.Overhead()
	header := len(dst)
	dst = append(dst, recordApplicationData, 3, 3, byte(n>>8), byte(n))
	body := len(dst)
	dst = append(dst, content...)
	dst = append(dst, contentType)
	dst = e.aead.Seal(dst[:body], e.nonce(), dst[body:], dst[header:body])
	e.seq++
	return dst
}

// Wipe overwrites the secret. The epoch must not be used afterwards.
func (e *Epoch) Wipe() {
	if e == nil {
		return
	}
	clear(e.secret)
	clear(e.iv[:])
	e.aead = nil
}
