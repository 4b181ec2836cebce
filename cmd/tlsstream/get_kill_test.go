package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get/gettest"
)

// A killer serves a file, and calls kill when it has sent so much of a response.
type killer struct {
	content []byte
	tag     string

	mu     sync.Mutex
	after  int                           // guarded by mu; no kill if negative
	kill   func(request context.Context) // guarded by mu
	ranges []string                      // guarded by mu
}

func (k *killer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	k.ranges = append(k.ranges, r.Header.Get("Range"))
	writer := &killingWriter{ResponseWriter: w, left: k.after, kill: k.kill, request: r.Context()}
	k.mu.Unlock()
	w.Header().Set("ETag", k.tag)
	http.ServeContent(writer, r, "file", time.Time{}, bytes.NewReader(k.content))
}

type killingWriter struct {
	http.ResponseWriter
	left    int
	kill    func(context.Context)
	request context.Context
}

func (w *killingWriter) Write(p []byte) (int, error) {
	if w.left >= 0 {
		w.left -= len(p)
		if w.left < 0 {
			w.kill(w.request)
		}
	}
	return w.ResponseWriter.Write(p)
}

// set arms it, and forgets what it was asked for.
func (k *killer) set(after int, kill func(context.Context)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.after, k.kill, k.ranges = after, kill, nil
}

// noExitDelay keeps the race detector from waiting a second at the end of each process.
const noExitDelay = "atexit_sleep_ms=0"

// getCommand runs get in a process of its own.
func getCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("tlsstream", append([]string{"get"}, args...)...)
	cmd.Env = append(os.Environ(), "GORACE="+noExitDelay)
	return cmd
}

// serveGet starts a server of crypto/tls and returns its URL without a path.
func serveGet(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.TLS = getCA.ServerConfig()
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that is killed in the handshake is no news
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// Whenever a run is killed, there is no part of a file under its name, and the next run goes on with what was safe.
func TestGetKilledAtRandomPoints(t *testing.T) {
	const (
		files = 25
		kills = 3 // of each file
		size  = 20 << 20
	)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	k := &killer{content: make([]byte, size), tag: `"one"`}
	for i := range k.content {
		k.content[i] = byte(i ^ i>>8 ^ i>>16)
	}
	server := serveGet(t, k)
	ca := getCAFile(t)

	var name string
	command := func() (*exec.Cmd, *bytes.Buffer) {
		var output bytes.Buffer
		cmd := getCommand("--ca", ca, "--output", name, server+"/file")
		cmd.Stdout, cmd.Stderr = &output, &output
		return cmd, &output
	}
	name = filepath.Join(t.TempDir(), "file")
	k.set(-1, nil)
	begun := time.Now()
	if cmd, output := command(); cmd.Run() != nil {
		t.Fatal(output)
	}
	usual := time.Since(begun)

	killed, resumed := 0, 0
	for i := range files {
		name = filepath.Join(t.TempDir(), "file")
		whole := false
		for range kills {
			cmd, _ := command()
			started := make(chan struct{})
			kill := func(context.Context) {
				<-started
				cmd.Process.Kill()
			}
			if random.IntN(4) == 0 {
				k.set(-1, nil) // at any time, the last steps included
				time.AfterFunc(time.Duration(random.Int64N(int64(usual))), func() { kill(nil) })
			} else {
				k.set(random.IntN(size-syncedOf(name)), kill)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			close(started)
			if cmd.Wait() != nil {
				killed++
			}
			if got, err := os.ReadFile(name); err == nil {
				if !bytes.Equal(got, k.content) {
					t.Fatalf("file %d: %d of %d bytes have the final name", i, len(got), size)
				}
				whole = true
				break
			}
		}
		if whole {
			continue
		}
		safe := syncedOf(name)
		k.set(-1, nil)
		cmd, output := command()
		if err := cmd.Run(); err != nil {
			t.Fatalf("file %d: %v\n%s", i, err, output)
		}
		wantContent(t, name, string(k.content))
		wantFiles(t, filepath.Dir(name), "file")
		want := ""
		if safe > 0 {
			want = fmt.Sprintf("bytes=%d-", min(safe, size-1))
			resumed++
		}
		k.mu.Lock()
		if len(k.ranges) != 1 || k.ranges[0] != want {
			t.Errorf("file %d: asked for %q, want %q", i, k.ranges, want)
		}
		k.mu.Unlock()
	}
	t.Logf("%d runs killed, %d of %d files resumed after that", killed, resumed, files)
	if killed == 0 || resumed == 0 {
		t.Errorf("%d runs killed, %d files resumed: that shows nothing", killed, resumed)
	}
}

// A run that is killed leaves no file with the signature of another version: both are old, both are new, or the signature is
// not there.
func TestGetOfPairKilledAtRandomPoints(t *testing.T) {
	const runs = 40
	repo := &gettest.Repo{Signer: gettest.NewSigner("release"), ETags: "strong"}
	server := serveGet(t, repo)
	ca := getCAFile(t)
	folder := t.TempDir()
	keyring := filepath.Join(t.TempDir(), "keyring")
	if err := writeKeyring(keyring, []*openpgp.Entity{repo.Signer}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(folder, "repomd.xml")
	args := []string{"--ca", ca, "--output", name, "--keyring", keyring,
		"--signature", server + gettest.SignaturePath, server + gettest.FilePath}
	started := time.Now()
	if output, err := getCommand(args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	usual := time.Since(started)
	killed, changed := 0, 0
	last := ""
	for range runs {
		repo.Swap()
		cmd := getCommand(args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(rand.N(usual), func() { cmd.Process.Kill() })
		if cmd.Wait() != nil {
			killed++
		}
		kill.Stop()
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(file) != last {
			changed++
			last = string(file)
		}
		signature, err := os.ReadFile(name + ".asc")
		if err != nil {
			continue
		}
		if _, err := openpgp.CheckArmoredDetachedSignature(openpgp.EntityList{repo.Signer}, bytes.NewReader(file), bytes.NewReader(signature), nil); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d runs killed, %d new files", killed, runs, changed)
	if killed == 0 {
		t.Error("nothing was killed")
	}
	if output, err := getCommand(args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	wantFiles(t, folder, "repomd.xml", "repomd.xml.asc")
}

// An interrupt ends a run in good order, and nothing that has come is lost.
func TestGetInterrupted(t *testing.T) {
	k := &killer{content: make([]byte, 3<<20), tag: `"one"`}
	address := serveGet(t, k) + "/file"
	ca := getCAFile(t)
	name := filepath.Join(t.TempDir(), "file")
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := getCommand("--ca", ca, "--output", name, address)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		started := make(chan struct{})
		k.set(1<<20, func(request context.Context) {
			<-started
			cmd.Process.Signal(signal)
			<-request.Done()
		})
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		close(started)
		cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status != exitInterrupted {
			t.Errorf("%v: exit status %d\n%s", signal, status, &stderr)
		}
		want := fmt.Sprintf("tlsstream: hint: the same command goes on at byte %d, from %s.partial\n", syncedOf(name), name)
		if !strings.Contains(stderr.String(), "tlsstream: error: interrupted after ") || !strings.HasSuffix(stderr.String(), want) {
			t.Errorf("%q, want %q", &stderr, want)
		}
	}
	safe := syncedOf(name)
	k.set(-1, nil)
	if status, _, stderr := getProgram(t, "--ca", ca, "--output", name, address); status != 0 {
		t.Fatalf("exit status %d\n%s", status, stderr)
	}
	wantContent(t, name, string(k.content))
	k.mu.Lock()
	defer k.mu.Unlock()
	if want := fmt.Sprintf("bytes=%d-", safe); safe == 0 || k.ranges[0] != want {
		t.Errorf("asked for %q, want %q", k.ranges, want)
	}
}

// syncedOf is how much a run has noted as safe.
func syncedOf(name string) (n int) {
	text, err := os.ReadFile(name + ".partial.json")
	if err != nil {
		return 0
	}
	var state struct{ Synced int }
	if err := json.Unmarshal(text, &state); err != nil {
		return 0
	}
	return state.Synced
}
