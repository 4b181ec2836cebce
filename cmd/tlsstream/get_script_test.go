package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get/gettest"
)

// The scripts in testdata/get have servers: $ENDINGS/FRAMING/ENDING/file, and $SWAPPED, a repository that is swapped once
// between the two requests of each script, with $KEYRING; $OTHERS has other keys. $CA is what to trust.
func TestGetScripts(t *testing.T) {
	signer, other := gettest.NewSigner("release"), gettest.NewSigner("other")
	testscript.Run(t, testscript.Params{
		Dir:  filepath.Join("testdata", "get"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": runForStatus},
		Setup: func(env *testscript.Env) error {
			ca, _, _, err := getCA.WriteFiles(env.WorkDir)
			if err != nil {
				return err
			}
			endings, err := gettest.ServeEndings(getCA.ServerConfig())
			if err != nil {
				return err
			}
			env.Defer(endings.Close)
			mux := http.NewServeMux()
			mux.Handle("/repodata/", &gettest.Repo{Signer: signer, Swaps: 1, ETags: "strong"})
			mux.Handle("/down/file", http.RedirectHandler("http://127.0.0.1:1/file", http.StatusFound))
			server := httptest.NewUnstartedServer(mux)
			server.TLS = getCA.ServerConfig()
			server.StartTLS()
			env.Defer(server.Close)
			env.Setenv("GORACE", noExitDelay)
			env.Setenv("CA", ca)
			env.Setenv("ENDINGS", "https://localhost:"+endings.Port)
			env.Setenv("SERVER", server.URL)
			for name, keys := range map[string][]*openpgp.Entity{"KEYRING": {other, signer}, "OTHERS": {other}} {
				file := filepath.Join(env.WorkDir, name+".asc")
				if err := writeKeyring(file, keys); err != nil {
					return err
				}
				env.Setenv(name, file)
			}
			return nil
		},
	})
}

// writeKeyring writes a block for each key, as distributions do.
func writeKeyring(name string, keys []*openpgp.Entity) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, key := range keys {
		w, err := armor.Encode(file, openpgp.PublicKeyType, nil)
		if err != nil {
			return err
		}
		if err := key.Serialize(w); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if _, err := io.WriteString(file, "\n"); err != nil {
			return err
		}
	}
	return file.Close()
}
