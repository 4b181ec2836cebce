package get_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
)

func armored(t *testing.T, kind string, write func(w io.Writer) error) string {
	t.Helper()
	var text bytes.Buffer
	w, err := armor.Encode(&text, kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return text.String() + "\n"
}

// Keyrings come as gpg exports them, and as distributions concatenate them.
func TestReadKeyring(t *testing.T) {
	public := armored(t, openpgp.PublicKeyType, signer.Serialize)
	private := armored(t, openpgp.PrivateKeyType, func(w io.Writer) error { return signer.SerializePrivate(w, nil) })
	var binary bytes.Buffer
	for range 2 {
		if err := signer.Serialize(&binary); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		text string
		keys int // 0 for an error
	}{
		"binary":             {binary.String(), 2},
		"armored":            {public, 1},
		"several":            {public + public + public, 3},
		"with words between": {"Fedora\n\n" + public + "EPEL\n" + public + "end\n", 2},
		"private":            {private, 0},
		"cut":                {public[:len(public)/2], 0},
		"words":              {strings.Repeat("hello\n", 100), 0},
		"nothing":            {"", 0},
	} {
		keys, err := get.ReadKeyring(strings.NewReader(test.text))
		if len(keys) != test.keys || test.keys > 0 && err != nil {
			t.Errorf("%s: %d keys, %v, want %d", name, len(keys), err, test.keys)
		}
	}
}
