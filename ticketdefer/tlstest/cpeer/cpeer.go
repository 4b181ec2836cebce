// Package cpeer builds a TLS client in C, on OpenSSL or GnuTLS, for tests and for package torture. What the client does
// its arguments say: src/peer.c lists them.
package cpeer

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed src
var source embed.FS

// killedAfter bounds the compiler, which needs about 200 ms.
const killedAfter = time.Minute

var linked = map[string][]string{
	"openssl": {"-lssl", "-lcrypto"},
	"gnutls":  {"-lgnutls"},
}

// Build builds the client on a library, "openssl" or "gnutls", in the folder dir, and returns the program's path. It
// fails where there is no gcc or where the library's headers are not installed.
func Build(dir, library string) (program string, err error) {
	sources := filepath.Join(dir, "cpeer_"+library, "src")
	if err := os.CopyFS(filepath.Dir(sources), source); err != nil {
		return "", fmt.Errorf("cpeer: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), killedAfter)
	defer cancel()
	program = filepath.Join(dir, "peer_"+library)
	args := append([]string{"-O1", "-o", program,
		filepath.Join(sources, "peer.c"), filepath.Join(sources, "peer_"+library+".c")}, linked[library]...)
	if out, err := exec.CommandContext(ctx, "gcc", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cpeer: cannot build a client with gcc and %s: %w\n%s", library, err, bytes.TrimSpace(out))
	}
	return program, nil
}
