package probe

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

func TestMain(m *testing.M) {
	// A probe waits nearly all of its time, whatever the number of processors.
	flag.Set("test.parallel", "8")
	goleak.VerifyTestMain(m)
}

// testTimeout bounds what a test waits for. It is reached only if something hangs, so it is generous: the machine may
// be busy.
const testTimeout = 60 * time.Second

var testCA, otherCA = tlstest.NewCA(), tlstest.NewCA()

// A program is a server to probe, as the test gives it: %CERT%, %KEY%, %PEM% (both in one), %PORT% and %DIR% stand for
// what they say in its arguments and in the file that it reads.
type program struct {
	name   string
	args   []string
	config string   // written to %DIR%/config
	env    []string // in addition

	openssl string // written to %DIR%/openssl.cnf
	module  string // a file that the program needs, if that is in another package
}

// start runs the program until the test ends, and returns its address when it listens.
func (p program) start(t *testing.T) string {
	t.Helper()
	path := tlstest.Program(t, p.name)
	if p.module != "" {
		if _, err := os.Stat(p.module); err != nil {
			tlstest.Missing(t, "%v", err)
		}
	}
	dir := t.TempDir()
	_, cert, key, err := testCA.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(dir, "both.pem")
	certText, certErr := os.ReadFile(cert)
	keyText, keyErr := os.ReadFile(key)
	if err := errors.Join(certErr, keyErr, os.WriteFile(pem, append(certText, keyText...), 0o600)); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	fill := strings.NewReplacer("%CERT%", cert, "%KEY%", key, "%PEM%", pem, "%PORT%", port, "%DIR%", dir)
	for name, text := range map[string]string{"config": p.config, "openssl.cnf": p.openssl} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var args []string
	for _, arg := range p.args {
		args = append(args, fill.Replace(arg))
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	// A program ends with its parent, by this: neither nginx nor proftpd leaves a child behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = append(os.Environ(), p.env...)
	for i := range cmd.Env {
		cmd.Env[i] = fill.Replace(cmd.Env[i])
	}
	var output tlstest.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	stdin, err := cmd.StdinPipe() // openssl ends at its end
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		stdin.Close()
		<-ended
		if t.Failed() {
			t.Logf("%s said: %s", p.name, output.String())
		}
	})
	address := "127.0.0.1:" + port
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		select {
		case <-ended:
			t.Fatalf("%s does not listen", p.name)
		case <-tick.C:
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// freePort returns a port that nobody listened on a moment ago, for a program that cannot choose one and say which.
func freePort(t *testing.T) string {
	t.Helper()
	l := listen(t)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// serve handles each connection of l in a goroutine of its own, until the test ends.
func serve(t *testing.T, l net.Listener, handle func(net.Conn)) string {
	t.Helper()
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(testTimeout))
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		handlers.Wait()
	})
	return l.Addr().String()
}

// swallow reads to the end, and says nothing.
func swallow(c net.Conn) { io.Copy(io.Discard, c) }

// testWait is longer than the default, for a machine that is busy.
const testWait = time.Second

// probe runs a probe that must succeed.
func probe(t *testing.T, o Options) *Report {
	t.Helper()
	o.Roots = testCA.Pool()
	o.Wait, o.Timeout = testWait, testTimeout
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
