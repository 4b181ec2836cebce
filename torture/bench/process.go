package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

const (
	// answerTimeout bounds what a request may take. An endpoint gives up earlier by itself.
	answerTimeout = 2 * sliceTimeout

	// endTimeout is how long an endpoint may take to end. It has nothing to do but to notice.
	endTimeout = 2 * time.Second

	// tailBytes is how much of an endpoint's standard error is kept.
	tailBytes = 512
)

// A process is an endpoint as the conductor sees it.
type process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	replies chan reply // closed at the end of its standard output
	stderr  tail
}

// startProcess starts an endpoint on a half of the cores. It is args if there are any, and else this program.
func startProcess(name, dir string, half int, args []string) (*process, error) {
	if len(args) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		args = []string{self}
	}
	p := &process{name: name, cmd: exec.Command(args[0], args[1:]...), replies: make(chan reply)}
	p.cmd.Env = append(os.Environ(), endpointVariable+"="+dir)
	p.cmd.Stderr = &p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := onHalf(half, p.cmd.Start); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.replies)
		decoder := json.NewDecoder(bufio.NewReader(stdout))
		for {
			var r reply
			if decoder.Decode(&r) != nil {
				return
			}
			p.replies <- r
		}
	}()
	return p, nil
}

// send sends a request. Its reply must be received before the next.
func (p *process) send(r request) error {
	if _, err := io.WriteString(p.stdin, r.String()); err != nil {
		return fmt.Errorf("the %s has ended: %s", p.name, p.stderr.text())
	}
	return nil
}

// errSilent means that an endpoint does not answer, so that nothing more can be measured with it.
var errSilent = errors.New("no answer")

func (p *process) receive() (reply, error) {
	late := time.NewTimer(answerTimeout)
	defer late.Stop()
	select {
	case r, ok := <-p.replies:
		switch {
		case !ok:
			return r, fmt.Errorf("%w: the %s has ended: %s", errSilent, p.name, p.stderr.text())
		case r.Error != "":
			return r, fmt.Errorf("%s: %s", p.name, r.Error)
		}
		return r, nil
	case <-late.C:
		p.cmd.Process.Kill()
		return reply{}, fmt.Errorf("%w from the %s for %v", errSilent, p.name, answerTimeout)
	}
}

func (p *process) call(r request) (reply, error) {
	if err := p.send(r); err != nil {
		return reply{}, err
	}
	return p.receive()
}

// close ends the endpoint and waits for it.
func (p *process) close() {
	p.stdin.Close()
	kill := time.AfterFunc(endTimeout, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	for range p.replies {
	}
	p.cmd.Wait()
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
