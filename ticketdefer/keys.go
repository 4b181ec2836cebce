package ticketdefer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// A suite is what record protection needs to know of a TLS 1.3 cipher suite
// (RFC 8446 B.4).
type suite struct {
	id      uint16
	keyLen  int
	hashLen int // of SHA-256, or else of SHA-384
	aead    func(key []byte) (cipher.AEAD, error)
}

var suites = []*suite{
	{tls.TLS_AES_128_GCM_SHA256, 16, sha256.Size, newAESGCM},
	{tls.TLS_AES_256_GCM_SHA384, 32, sha512.Size384, newAESGCM},
	{tls.TLS_CHACHA20_POLY1305_SHA256, chacha20poly1305.KeySize, sha256.Size, chacha20poly1305.New},
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
	aead   cipher.AEAD // nil while the epoch rests
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
			if len(secret) != s.hashLen {
				return nil, fmt.Errorf("ticketdefer: traffic secret of %d bytes for %s", len(secret), tls.CipherSuiteName(cipherSuite))
			}
			return newEpoch(s, slices.Clone(secret))
		}
	}
	return nil, fmt.Errorf("ticketdefer: %s is not a TLS 1.3 cipher suite known here", tls.CipherSuiteName(cipherSuite))
}

// newEpoch owns secret from now on.
func newEpoch(s *suite, secret []byte) (*Epoch, error) {
	e := restingEpoch(s, secret)
	if err := e.wake(); err != nil {
		return nil, err
	}
	return e, nil
}

// restingEpoch is newEpoch without the AEAD, which is most of an epoch's memory.
func restingEpoch(s *suite, secret []byte) *Epoch {
	e := &Epoch{suite: s, secret: secret}
	s.expandLabel(e.iv[:], secret, "iv")
	return e
}

// rest drops the AEAD until it is needed.
func (e *Epoch) rest() { e.aead = nil }

// wake makes the AEAD if there is none. It cannot fail a second time.
func (e *Epoch) wake() (err error) {
	if e.aead != nil {
		return nil
	}
	var key [maxKeyLen]byte
	defer clear(key[:])
	e.suite.expandLabel(key[:e.suite.keyLen], e.secret, "key")
	// crypto/cipher refuses GCM with our nonces when GODEBUG=fips140=only.
	e.aead, err = e.suite.aead(key[:e.suite.keyLen])
	return err
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
	secret := make([]byte, len(e.secret))
	e.suite.expandLabel(secret, e.secret, "traffic upd")
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
	if e.wake() != nil {
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
	_ = e.wake() // who has an epoch that never woke asks first
	n := len(content) + 1 + e.aead.Overhead()
	dst = slices.Grow(dst, recordHeaderLen+n) // at once: memory that is left behind must hold no plaintext
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
