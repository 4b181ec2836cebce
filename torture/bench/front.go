package bench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// listenTimeout bounds how long a terminator may take to listen. It takes some milliseconds.
	listenTimeout = 10 * time.Second

	// endTimeout is how long a terminator without connections may take to end.
	endTimeout = 2 * time.Second

	// askAgainAfter is the time between two looks whether it does.
	askAgainAfter = 5 * time.Millisecond
)

// A front is a terminator under way.
type front struct {
	port  int
	cmd   *exec.Cmd
	stock *process // of StockProxy; nil of others
	said  *words
	ended chan struct{}
}

// startFront starts a terminator on the second half of the cores. The client and the sink share the first.
func (p *places) startFront(t *Terminator, backend int) (*front, error) {
	to := fmt.Sprintf("127.0.0.1:%d", backend)
	if t.Name == stdlibProxy {
		s, err := p.start(t.Name, 1, nil)
		if err != nil {
			return nil, err
		}
		f := &front{cmd: s.cmd, stock: s}
		r, err := s.call(request{op: opTerminate, port: backend})
		f.port = r.Port
		return f, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd, err := p.command(t, port, to)
	if err != nil {
		return nil, err
	}
	f := &front{port: port, cmd: cmd, said: &words{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = f.said, f.said
	if err := p.run(1, cmd.Start); err != nil {
		return nil, err
	}
	go func() {
		defer close(f.ended)
		cmd.Wait()
	}()
	return f, f.awaitListening()
}

// command returns what starts a terminator.
func (p *places) command(t *Terminator, port int, backend string) (*exec.Cmd, error) {
	path, err := findProgram(t.Program)
	if err != nil {
		return nil, err
	}
	place := Place{
		Port: port, Backend: backend,
		CertFile: filepath.Join(p.dir, "server.pem"), KeyFile: filepath.Join(p.dir, "server-key.pem"), PEMFile: filepath.Join(p.dir, "both.pem"),
	}
	if place.Dir, err = os.MkdirTemp(p.dir, "terminator-"); err != nil {
		return nil, err
	}
	certificate, certErr := os.ReadFile(place.CertFile)
	key, keyErr := os.ReadFile(place.KeyFile)
	if err := errors.Join(certErr, keyErr, os.WriteFile(place.PEMFile, append(certificate, key...), 0o600)); err != nil {
		return nil, err
	}
	args, err := t.Command(place)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.WaitDelay = endTimeout
	return cmd, nil
}

// awaitListening connects until it can. No terminator connects to its backend before the client's handshake.
func (f *front) awaitListening() error {
	tick := time.NewTicker(askAgainAfter)
	defer tick.Stop()
	late := time.NewTimer(listenTimeout)
	defer late.Stop()
	for {
		conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: f.port})
		if err == nil {
			return conn.Close()
		}
		select {
		case <-f.ended:
			return fmt.Errorf("it has ended: %s", f.said.text())
		case <-late.C:
			f.close()
			return fmt.Errorf("it does not listen: %s", f.said.text())
		case <-tick.C:
		}
	}
}

// freePort returns a port that nobody listened on a moment ago, for programs that cannot choose one and say which.
func freePort() (int, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (f *front) cpu() time.Duration { return cpuTimeOf(f.cmd.Process.Pid) }

// close ends the terminator and waits for it.
func (f *front) close() {
	if f.stock != nil {
		f.stock.close()
		return
	}
	f.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(endTimeout, func() { f.cmd.Process.Kill() })
	defer kill.Stop()
	<-f.ended
}
