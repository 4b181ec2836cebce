package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// startFtpd runs the subcommand until the context ends, and returns its standard
// output and its exit status.
func startFtpd(t *testing.T, ctx context.Context, args ...string) (io.Reader, chan int) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	out, in := io.Pipe()
	status := make(chan int, 1)
	go func() {
		var stderr bytes.Buffer
		status <- run(ctx, append([]string{"ftpd", "--listen", "127.0.0.1:0"}, args...), in, &stderr)
		if t.Failed() {
			t.Logf("standard error:\n%s", &stderr)
		}
		in.Close()
	}()
	return out, status
}

// What ftpd prints is to be pasted.
func TestFtpdPrintsACommandThatUploads(t *testing.T) {
	tlstest.Program(t, "curl")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, status := startFtpd(t, ctx)
	lines := bufio.NewScanner(out)
	folder := ""
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "folder:"); ok {
			folder = strings.TrimSpace(name)
		}
		command, ok := strings.CutPrefix(line, "curl ")
		if !ok {
			continue
		}
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte("hello\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		shell := "curl --silent --show-error " + strings.Replace(command, "FILE", file, 1)
		if out, err := exec.Command("sh", "-c", shell).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", shell, err, out)
		}
		break
	}
	got, err := os.ReadFile(filepath.Join(folder, "file"))
	if err != nil || string(got) != "hello\n" {
		t.Errorf("received %q, %v", got, err)
	}
	cancel()
	go io.Copy(io.Discard, out)
	if got := <-status; got != 0 {
		t.Errorf("exit status %d", got)
	}
}

// Programs read the document. It must have the fields that --help describes, and no
// others.
func TestFtpdDocumentIsAsDocumented(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, status := startFtpd(t, ctx, "--json")
	var document struct {
		Version        int    `json:"version"`
		Listen         string `json:"listen"`
		ListenImplicit string `json:"listen_implicit"`
		Root           string `json:"root"`
		User           string `json:"user"`
		Password       string `json:"password"`
		SelfSigned     bool   `json:"self_signed"`
		Fingerprint    string `json:"certificate_sha256"`
		Pin            string `json:"public_key_pin"`
	}
	decoder := json.NewDecoder(out)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		t.Fatal(err)
	}
	d := &document
	if d.Version != formatVersion || d.Listen == "" || d.ListenImplicit != "" || d.Root == "" || d.User != "upload" ||
		len(d.Password) != passwordLen || !d.SelfSigned || len(d.Fingerprint) != 32*3-1 || !strings.HasPrefix(d.Pin, "sha256//") {
		t.Errorf("%+v", d)
	}
	cancel()
	if got := <-status; got != 0 {
		t.Errorf("exit status %d", got)
	}
	if rest, err := io.ReadAll(out); err != nil || len(bytes.TrimSpace(rest)) > 0 {
		t.Errorf("behind the document: %q, %v", rest, err)
	}
}
