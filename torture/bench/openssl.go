package bench

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed cendpoint/endpoint.c
var opensslSource []byte

// compileTimeout bounds the compiler, which needs about 300 ms.
const compileTimeout = time.Minute

// openssl is a program in C at both ends, so that the cost of crypto/tls itself can be seen.
func openssl() Stack {
	return Stack{
		Name:  "openssl",
		About: "OpenSSL with its defaults, in C; compiled when it is needed; bulk, one-way and ping-pong",
		build: func(dir string) ([]string, error) {
			source, program := filepath.Join(dir, "endpoint.c"), filepath.Join(dir, "endpoint")
			if err := os.WriteFile(source, opensslSource, 0o600); err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(context.Background(), compileTimeout)
			defer cancel()
			out, err := exec.CommandContext(ctx, "cc", "-O2", "-o", program, source, "-lssl", "-lcrypto", "-lpthread").CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("it cannot be built with cc and libssl: %w\n%s", err, bytes.TrimSpace(out))
			}
			return []string{program}, nil
		},
		// Its handshakes are not like those of crypto/tls, which has another key exchange.
		kinds: []kind{oneWay, pingPong},
	}
}
