package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// answerTimeout bounds what a request may take. An endpoint gives up earlier by itself.
const answerTimeout = 2 * sliceTimeout

// A process is an endpoint as the conductor sees it.
type process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	timeout time.Duration // of an answer
	wait    func()        // may be called again
	replies chan reply    // closed at the end of its standard output
	stderr  words
}

// start starts an endpoint on a half of the cores. It is args if there are any, and else this program.
func (places *places) start(name string, half int, args []string) (*process, error) {
	if len(args) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		args = []string{self}
	}
	p := &process{name: name, cmd: exec.Command(args[0], args[1:]...), timeout: answerTimeout, replies: make(chan reply)}
	p.cmd.Env = append(os.Environ(), endpointVariable+"="+places.dir)
	p.cmd.Stderr = &p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := places.run(half, p.cmd.Start); err != nil {
		return nil, err
	}
	p.wait = sync.OnceFunc(func() { p.cmd.Wait() })
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
		return p.ended()
	}
	return nil
}

func (p *process) receive() (reply, error) {
	late := time.NewTimer(p.timeout)
	defer late.Stop()
	select {
	case r, ok := <-p.replies:
		switch {
		case !ok:
			return r, p.ended()
		case r.Error != "":
			return r, fmt.Errorf("%s: %s", p.name, r.Error)
		}
		return r, nil
	case <-late.C:
		p.cmd.Process.Kill()
		return reply{}, fmt.Errorf("no answer from the %s for %v", p.name, p.timeout)
	}
}

func (p *process) call(r request) (reply, error) {
	if err := p.send(r); err != nil {
		return reply{}, err
	}
	return p.receive()
}

// close ends the endpoint, which has nothing to lose, and waits for it. It would end by itself, but if it was built with
// -race only after a second.
func (p *process) close() {
	p.stdin.Close()
	p.cmd.Process.Kill()
	for range p.replies {
	}
	p.wait()
}

// ended is the error of an endpoint that has ended, with its words, which are complete once it has been waited for.
func (p *process) ended() error {
	p.close()
	return fmt.Errorf("the %s has ended: %s", p.name, p.stderr.text())
}
