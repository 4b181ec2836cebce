package integration

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A server is a program that listens, with the file that it reads: %CERT%, %KEY%, %PORT% and %DIR% stand for what they
// say in it and in the arguments.
type server struct {
	path   string
	args   []string
	config string // written to %DIR%/config
}

// start runs the program until the test ends, and returns its address when it listens.
func (s server) start(t *testing.T, dir string) string {
	t.Helper()
	_, cert, key, err := testCA.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	fill := strings.NewReplacer("%CERT%", cert, "%KEY%", key, "%PORT%", port, "%DIR%", dir)
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(fill.Replace(s.config)), 0o600); err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, arg := range s.args {
		args = append(args, fill.Replace(arg))
	}
	p := launch(t, nil, s.path, args...)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		select {
		case <-p.ended:
			t.Fatalf("%s does not listen", s.path)
		case <-tick.C:
		}
	}
}

// freeAddress returns one that nothing listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A process is a program that runs until it ends, stop is called or the test ends.
type process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Wait, once ended is closed
	output tlstest.Buffer
}

func launch(t *testing.T, env []string, path string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	p := &process{cmd: exec.CommandContext(ctx, path, args...), cancel: cancel, ended: make(chan struct{})}
	p.cmd.WaitDelay = 5 * time.Second
	// The servers here end their children when they are told to end.
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said: %s", path, p.output.String())
		}
	})
	return p
}

// stop ends the program and waits for it.
func (p *process) stop() error {
	p.cancel()
	<-p.ended
	if errors.Is(p.err, context.Canceled) {
		return nil
	}
	return p.err
}
