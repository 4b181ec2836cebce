package tlsprom_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Whoever uses tlsstream without this package does not get Prometheus's modules.
func TestCoreDoesNotImportPrometheus(t *testing.T) {
	const module = "github.com/deferredtls/deferredtls/"
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"tlsstream").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if !strings.Contains(string(list), module+"ticketdefer\n") {
		t.Fatalf("go list shows no imports: %s", list)
	}
	for path := range strings.Lines(string(list)) {
		if strings.Contains(path, "prometheus") {
			t.Errorf("tlsstream imports %s", path)
		}
	}
}
