package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"os"
)

// runAndTerminate is the script command "terminate N program args...": it terminates the program
// after its first line of output; that must end it with status N. What it wrote is left in
// the files terminated.out and terminated.err.
func runAndTerminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: terminate N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Dir = ts.Getenv("WORK")
	var stdout, stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	reader := bufio.NewReader(io.TeeReader(pipe, &stdout))
	if _, err := reader.ReadString('\n'); err != nil {
		cmd.Wait()
		ts.Fatalf("no output: %v\n%s", err, &stderr)
	}
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	io.Copy(io.Discard, reader)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); ok {
		got = exit.ExitCode()
	}
	ts.Check(os.WriteFile(ts.MkAbs("terminated.out"), stdout.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("terminated.err"), stderr.Bytes(), 0o600))
	if got != want {
		ts.Fatalf("exit status %d, want %d\n%s", got, want, &stderr)
	}
}
