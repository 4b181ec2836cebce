package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

const (
	// programTimeout bounds a program's life. It is reached only if the watchdog fails.
	programTimeout = 30 * time.Second

	// strayAfter is how long what a killed program started may keep its standard error open.
	strayAfter = time.Second

	// tailBytes is how much of what a program says at its end is kept.
	tailBytes = 512
)

// A process is a program under way, and the transport of its side: what is written goes to its standard input, what is
// read is its standard output. Close kills it, and returns when it is gone.
type process struct {
	*os.File // standard output
	name     string
	stdin    *os.File
	stderr   tail
	cancel   context.CancelFunc
	exited   chan struct{}
	err      error // valid once exited is closed
}

// start starts a program.
func (w *workshop) start(ctx context.Context, args []string) (*process, error) {
	path, err := exec.LookPath(args[0])
	if errors.Is(err, exec.ErrNotFound) {
		return nil, notHere(args[0] + " is not installed")
	} else if err != nil {
		return nil, fmt.Errorf("torture: %w", err)
	}
	p := &process{name: filepath.Base(path), exited: make(chan struct{})}
	ctx, p.cancel = context.WithTimeout(ctx, programTimeout)
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.WaitDelay = strayAfter
	// Neither a language nor a configuration of this machine's.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "LC_ALL=C"}
	cmd.Stderr = &p.stderr
	fail := func(err error) (*process, error) {
		p.cancel()
		return nil, fmt.Errorf("torture: cannot start %s: %w", p.name, err)
	}
	theirStdin, stdin, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer theirStdin.Close()
	stdout, theirStdout, err := os.Pipe()
	if err != nil {
		stdin.Close()
		return fail(err)
	}
	defer theirStdout.Close()
	cmd.Stdin, cmd.Stdout = theirStdin, theirStdout
	p.stdin, p.File = stdin, stdout
	if err := cmd.Start(); err != nil {
		stdin.Close()
		stdout.Close()
		return fail(err)
	}
	go func() {
		defer close(p.exited)
		p.err = cmd.Wait()
	}()
	return p, nil
}

func (p *process) Write(b []byte) (int, error) { return p.stdin.Write(b) }

// CloseWrite ends the program's standard input.
func (p *process) CloseWrite() error { return p.stdin.Close() }

func (p *process) Close() error {
	p.cancel()
	<-p.exited
	p.stdin.Close()
	return p.File.Close()
}

func (p *process) LocalAddr() net.Addr  { return programAddr{} }
func (p *process) RemoteAddr() net.Addr { return programAddr{} }

type programAddr struct{}

func (programAddr) Network() string { return "program" }
func (programAddr) String() string  { return "program" }

// ended waits for the exit and returns how the program failed, if it did, in its own words.
func (p *process) ended() error {
	<-p.exited
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", p.name, p.err, p.stderr.text())
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-tailBytes):]
	return len(p), nil
}

// text is in one line.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.Join(bytes.Fields(t.last), []byte{' '}))
}
