package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A served program runs in the background of a script.
type served struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// servers are those that scripts have started, by *testscript.TestScript.
var servers sync.Map

// serve is the script command "serve NAME program args...": it starts a program that
// prints one JSON document when it is ready, and makes each field FIELD of it the
// variable NAME_FIELD.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: serve NAME program args...")
	}
	s := &served{cmd: exec.Command(args[1], args[2:]...), stderr: &bytes.Buffer{}}
	s.cmd.Dir = ts.MkAbs(".")
	s.cmd.Env = append(os.Environ(), "TMPDIR="+ts.Getenv("TMPDIR"))
	s.cmd.Stderr = s.stderr
	stdout, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	ts.Defer(func() {
		if _, running := servers.LoadAndDelete(ts); running {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
	})
	var document map[string]any
	if err := json.NewDecoder(stdout).Decode(&document); err != nil {
		s.cmd.Wait()
		ts.Fatalf("no document: %v\n%s", err, s.stderr)
	}
	for field, value := range document {
		ts.Setenv(strings.ToUpper(args[0]+"_"+field), fmt.Sprint(value))
	}
	servers.Store(ts, s)
}

// end is the script command "end N": it ends what serve started by SIGTERM, wants
// exit status N, and leaves its standard error in the file log.
func end(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: end N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	value, ok := servers.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("nothing is served")
	}
	s := value.(*served)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	err = s.cmd.Wait()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	ts.Check(os.WriteFile(ts.MkAbs("log"), s.stderr.Bytes(), 0o600))
	if got != want {
		ts.Fatalf("exit status %d, want %d\n%s", got, want, s.stderr)
	}
}

// has is the script condition "[has:program]". With CI=true it is an error if the
// program is missing.
func has(condition string) (bool, error) {
	name, ok := strings.CutPrefix(condition, "has:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	_, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		return false, err
	}
	return err == nil, nil
}

// await is the script command "await file": it waits until the file has bytes in it.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await file")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("nothing comes into %s", args[0])
		}
	}
}
