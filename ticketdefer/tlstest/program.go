package tlstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program returns the path of an installed program, or calls [Missing]. Servers are
// often not in a user's PATH.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		Missing(t, "%s is not installed", name)
	}
	return path
}

// Missing skips a test for want of what is not on every machine. In CI that is a
// failure, or nobody would notice.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
