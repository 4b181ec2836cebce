package torture

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testdata/foreign is a module of its own, as a user's is: TestStack passes the stack that defers, and catches the one
// that has only switched its tickets off.
func TestStackOfAnotherModule(t *testing.T) {
	const dir = "testdata/foreign"
	// The go command may complete these files, but not in the source.
	modfile := filepath.Join(t.TempDir(), "go.mod")
	copyFile(t, filepath.Join(dir, "go.mod"), modfile)
	copyFile(t, "../go.sum", filepath.Join(filepath.Dir(modfile), "go.sum"))
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), "go", append(args, "./...")...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -modfile="+modfile)
		return cmd.CombinedOutput()
	}
	if out, err := run("list", "-deps", "-test"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Skipf("its modules cannot be had: %v\n%s", err, out)
	}

	out, err := run("test", "-v", "-count=1", "-run=/^upload(-key-update)?$")
	if err == nil {
		t.Error("all passed")
	}
	got := make(map[string]string)
	for _, m := range regexp.MustCompile(`--- (PASS|FAIL): (Test\w+/\S+)`).FindAllSubmatch(out, -1) {
		got[string(m[2])] = string(m[1])
	}
	want := map[string]string{
		"TestTicketsOff/upload":            "PASS",
		"TestTicketsOff/upload-key-update": "FAIL",
		"TestDeferred/upload":              "PASS",
		"TestDeferred/upload-key-update":   "PASS",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s\n%s", diff, out)
	}
	if !bytes.Contains(out, []byte("silent-loss: the server read")) {
		t.Errorf("nobody is told what was lost:\n%s", out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
