package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	torturebench "github.com/deferredtls/deferredtls/torture/bench"
)

// dying is a backend that speaks HTTP/1.0, where the end of the connection is the end of
// the answer, and dies by a reset: in the middle of its answer, or, for a PUT, in
// the middle of the body that it reads.
func dying(t *testing.T) (address string) {
	b := newBackend(t)
	go func() {
		for {
			conn, err := b.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				head := make([]byte, 4<<10)
				n, err := conn.Read(head)
				if err == nil && bytes.HasPrefix(head[:n], []byte("PUT")) {
					io.CopyN(io.Discard, conn, 256<<10)
				} else if err == nil {
					io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\n")
					conn.Write(pattern(256 << 10))
				}
				// Not before the proxy has all of it: a reset destroys what it overtakes.
				resetBehind(conn, testTimeout, nil)
			}()
		}
	}()
	return b.address()
}

// A programEnd is what a program made of a connection.
type programEnd struct {
	status int
	output string
}

func runProgram(t *testing.T, input, program string, args ...string) programEnd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// Standard input stays open: openssl closes the connection at its end.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go io.WriteString(stdin, input)
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok || ctx.Err() != nil {
		t.Fatal(err)
	} else if ok {
		return programEnd{exit.ExitCode(), stderr.String()}
	}
	return programEnd{0, stderr.String()}
}

// Real clients report a backend that dies in the middle, as an alert. Through a stock
// proxy curl calls half an answer a success.
func TestRealClientsSeeADyingBackend(t *testing.T) {
	ca := caFile(t)
	address := dying(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go torturebench.StockProxy(l, testCA.ServerConfig(), address, 0)
	ours := start(t, testConfig(address)).address
	upload := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(upload, pattern(8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	url := func(address string) string {
		return "https://" + strings.Replace(address, "127.0.0.1", "localhost", 1) + "/"
	}

	t.Run("curl", func(t *testing.T) {
		curl := tlstest.Program(t, "curl")
		args := []string{"-sS", "--http1.0", "--noproxy", "*", "--cacert", ca, "-o", os.DevNull}
		if end := runProgram(t, "", curl, append(args, url(l.Addr().String()))...); end.status != 0 {
			t.Errorf("blind: through the stock proxy curl ends with %d: %s", end.status, end.output)
		}
		const receiveError = 56
		if end := runProgram(t, "", curl, append(args, url(ours))...); end.status != receiveError || !strings.Contains(end.output, "alert internal error") {
			t.Errorf("status %d: %s", end.status, end.output)
		}
		if end := runProgram(t, "", curl, append(args, "-T", upload, url(ours))...); end.status != receiveError || !strings.Contains(end.output, "alert internal error") {
			t.Errorf("uploading: status %d: %s", end.status, end.output)
		}
	})
	t.Run("openssl", func(t *testing.T) {
		openssl := tlstest.Program(t, "openssl")
		args := func(address string) []string {
			return []string{"s_client", "-quiet", "-CAfile", ca, "-servername", "localhost", "-connect", address}
		}
		const request = "GET / HTTP/1.0\r\n\r\n"
		if end := runProgram(t, request, openssl, args(l.Addr().String())...); end.status != 0 {
			t.Errorf("blind: through the stock proxy openssl ends with %d: %s", end.status, end.output)
		}
		if end := runProgram(t, request, openssl, args(ours)...); end.status != 1 || !strings.Contains(end.output, "alert number 80") {
			t.Errorf("status %d: %s", end.status, end.output)
		}
	})
}
