package get

import (
	"os"
	"path/filepath"
	"testing"
)

// Before the file gets its name, the signature of the one before is gone: a process that dies in between leaves no
// two that do not match.
func TestOldSignatureGoesFirst(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file.asc")
	if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &pair{name: name, signature: []byte("new")}
	if err := p.prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the old signature is still there: %v", err)
	}
	if err := p.commit(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
}
