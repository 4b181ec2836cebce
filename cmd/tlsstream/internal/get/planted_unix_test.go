//go:build unix

package get_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get/gettest"
)

// In a folder where others may write, they may put links under the names that a download is going to use. Nothing may be
// written through them, and no link may end up under the final name.
func TestNothingIsWrittenThroughPlantedLinks(t *testing.T) {
	const precious = "precious"
	for name, link := range map[string]func(from, to string) error{"symbolic": os.Symlink, "hard": os.Link} {
		for _, suffix := range []string{".partial", ".partial.json.new", ".asc.new"} {
			t.Run(name+suffix, func(t *testing.T) {
				victim := filepath.Join(t.TempDir(), "victim")
				if err := os.WriteFile(victim, []byte(precious), 0o600); err != nil {
					t.Fatal(err)
				}
				config := pairConfig(t, serve(t, &gettest.Repo{Signer: signer}), t.TempDir())
				if suffix == ".partial.json.new" {
					content := contentOf("first version")
					s := &ranges{tag: old, content: content, cuts: 1}
					config = configFor(t, serve(t, s)+"/file", filepath.Dir(config.Output))
				}
				if err := link(victim, config.Output+suffix); err != nil {
					t.Fatal(err)
				}
				result, err := get.Run(t.Context(), config)
				if suffix == ".partial" && (err == nil || result.Kind != get.Local) {
					t.Errorf("%v, %v, want an error of kind local", result.Kind, err)
				}
				if content, err := os.ReadFile(victim); err != nil || string(content) != precious {
					t.Errorf("the file behind the link holds %.20q, %v", content, err)
				}
				if info, err := os.Lstat(config.Output); err == nil && !info.Mode().IsRegular() {
					t.Errorf("the download is %v", info.Mode())
				}
			})
		}
	}
}

// Whoever owns the file could write to it when it has been verified.
func TestPartialFileOfAnotherUserIsRefused(t *testing.T) {
	config := configFor(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") }))+"/file", t.TempDir())
	planted := config.Output + ".partial"
	if err := os.WriteFile(planted, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(planted, 12345, 12345); err != nil {
		t.Skip(err) // only root can
	}
	wantFailure(t, config, get.Local, "another user")
}
