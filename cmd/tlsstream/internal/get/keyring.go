package get

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
)

// armorStart begins each armored block (RFC 9580 6.2).
var armorStart = []byte("-----BEGIN PGP ")

// ReadKeyring reads public keys: binary, or any number of armored blocks in a row, as distributions publish them.
func ReadKeyring(r io.Reader) (openpgp.EntityList, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(text, armorStart) {
		return openpgp.ReadKeyRing(bytes.NewReader(text))
	}
	var keys openpgp.EntityList
	blocks := bufio.NewReader(bytes.NewReader(text)) // armor.Decode takes it as it is, and reads no further than it must
	for {
		block, err := armor.Decode(blocks)
		if err == io.EOF && len(keys) > 0 {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		if block.Type != openpgp.PublicKeyType {
			return nil, fmt.Errorf("it has a %s", block.Type)
		}
		some, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return nil, err
		}
		keys = append(keys, some...)
		if _, err := io.Copy(io.Discard, block.Body); err != nil {
			return nil, err
		}
	}
}

// verify returns who signed.
func verify(keyring openpgp.EntityList, file io.Reader, signature []byte) (*openpgp.Entity, error) {
	if bytes.Contains(signature, armorStart) {
		return openpgp.CheckArmoredDetachedSignature(keyring, file, bytes.NewReader(signature), nil)
	}
	return openpgp.CheckDetachedSignature(keyring, file, bytes.NewReader(signature), nil)
}

// mismatchText says what is wrong with a signature, in the user's words.
func mismatchText(err error) string {
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "the signature is by a key that the keyring does not have"
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "the key that signed has expired"
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "the key that signed has been revoked"
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return "the signature has expired"
	}
	return fmt.Sprintf("the signature does not match the file (%v)", err)
}
