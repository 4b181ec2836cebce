//go:build unix

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// processTimeout bounds what a test of the running program waits for. It is reached only if
// something hangs, so it is generous: the machine may be busy.
const processTimeout = 30 * time.Second

// A proxyProcess is the program at work, and those that it has started in its place.
type proxyProcess struct {
	t               *testing.T
	dir             string
	listen, metrics string
	ca              *tlstest.CA
	exited          chan int // the first process's status
	stderr, pidFile string
}

// startProxy starts the program with a certificate, in front of a backend. listen may be
// an address that an earlier one had.
func startProxy(t *testing.T, ca *tlstest.CA, listen, backend string, args ...string) *proxyProcess {
	t.Helper()
	dir := t.TempDir()
	p := &proxyProcess{t: t, dir: dir, ca: ca, exited: make(chan int, 1),
		stderr: filepath.Join(dir, "stderr"), pidFile: filepath.Join(dir, "pid")}
	_, certFile, keyFile, err := ca.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"proxy", "--listen", listen, "--to", backend, "--cert", certFile, "--key", keyFile,
		"--metrics", "127.0.0.1:0", "--pid-file", p.pidFile, "--json"}, args...)
	program, err := exec.LookPath("tlsstream") // testscript puts it there
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	stderr, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var document struct{ Listen, Metrics string }
	if err := json.NewDecoder(stdout).Decode(&document); err != nil {
		t.Fatalf("%v: %s", err, p.log())
	}
	stdout.Close() // as a reader that has what it wants; later processes must live with that
	p.listen, p.metrics = document.Listen, document.Metrics
	go func() {
		cmd.Wait()
		p.exited <- cmd.ProcessState.ExitCode()
	}()
	p.waitFor("the process id", func() bool { return p.pid() != 0 })
	t.Cleanup(func() {
		syscall.Kill(p.pid(), syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the program's log:\n%s", p.log())
		}
	})
	return p
}

// waitFor polls: other processes give no events.
func (p *proxyProcess) waitFor(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(processTimeout); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: not within %v", what, processTimeout)
		}
	}
}

// pid returns who is accepting, or 0.
func (p *proxyProcess) pid() int {
	text, err := os.ReadFile(p.pidFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		p.t.Error(err)
	}
	return pid
}

func (p *proxyProcess) log() string {
	text, _ := os.ReadFile(p.stderr)
	return string(text)
}

// restart has a new process take over. It is refused for as long as an older one is still
// at work, so it asks until it happens.
func (p *proxyProcess) restart() {
	p.t.Helper()
	old := p.pid()
	asked := time.Time{}
	p.waitFor("another process", func() bool {
		if time.Since(asked) > time.Second {
			asked = time.Now()
			syscall.Kill(old, syscall.SIGUSR2)
		}
		return p.pid() != old
	})
}

// renew writes another certificate over the one in use, and waits until it is used.
func (p *proxyProcess) renew() {
	p.t.Helper()
	_, certFile, _, err := p.ca.WriteFiles(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, filepath.Join(p.dir, "server-key.pem"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.waitFor("the new certificate", func() bool {
		conn, err := tls.Dial("tcp", p.listen, p.ca.ClientConfig())
		if err != nil {
			p.t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Equal(pair.Leaf)
	})
}

// metric returns a metric of the process that accepts.
func (p *proxyProcess) metric(name string) float64 {
	p.t.Helper()
	response, err := http.Get(p.metrics)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return number
		}
	}
	p.t.Fatal(fmt.Errorf("no metric %s", name))
	return 0
}
