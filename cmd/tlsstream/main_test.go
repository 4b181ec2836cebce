package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/deferredtls/deferredtls/torture"
	"github.com/deferredtls/deferredtls/torture/bench"
)

func TestMain(m *testing.M) {
	bench.Endpoint()
	testscript.Main(m, map[string]func(){"tlsstream": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":    runForStatus,
			"interrupt": runAndInterrupt,
			"serve":     serve,
			"end":       end,
			"await":     await,
			"terminate": runAndTerminate,
			"probed":    startForScript,
		},
		Condition: has,
	})
}

// runForStatus is the script command "status N program args...": the program must exit with status N.
func runForStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// runAndInterrupt is the script command "interrupt program args...": it interrupts the program after its first line of
// output, and leaves its standard error in the file interrupted.
func runAndInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: interrupt program args...")
	}
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		ts.Fatalf("no output: %v\n%s", err, &stderr)
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
		ts.Fatalf("ended with %v, want exit status %d\n%s", err, exitInterrupted, &stderr)
	}
	ts.Check(os.WriteFile(ts.MkAbs("interrupted"), stderr.Bytes(), 0o600))
}

// Programs read the document. It must have the fields that --help describes, and no others.
func TestJSONDocumentIsAsDocumented(t *testing.T) {
	var stdout, stderr bytes.Buffer
	args := []string{"torture", "--json", "--seed", "3", "--runs", "2", "--size", "256KiB", "--scenario", "upload",
		"--network", "pipe-linux", "--stack", "stdlib,tlsstream"}
	if status := run(t.Context(), args, &stdout, &stderr); status != 0 {
		t.Fatalf("exit status %d\n%s", status, &stderr)
	}

	type failure struct {
		Trial     int     `json:"trial"`
		Case      string  `json:"case"`
		Reduced   *string `json:"reduced"`
		Class     string  `json:"class"`
		LostBytes int64   `json:"lost_bytes"`
		Detail    string  `json:"detail"`
	}
	type row struct {
		Scenario         string         `json:"scenario"`
		Network          string         `json:"network"`
		Stack            string         `json:"stack"`
		Role             string         `json:"role"`
		Threat           string         `json:"threat"`
		MustFail         bool           `json:"must_fail"`
		Blind            bool           `json:"blind"`
		ControlPasses    bool           `json:"control_passes"`
		Verdict          string         `json:"verdict"`
		Counts           map[string]int `json:"counts"`
		Trials           int            `json:"trials"`
		UndeterminedRuns int            `json:"undetermined_runs"`
		LostRuns         int            `json:"lost_runs"`
		SilentLossRuns   int            `json:"silent_loss_runs"`
		CorruptedRuns    int            `json:"corrupted_runs"`
		DeadlockedRuns   int            `json:"deadlocked_runs"`
		WrongErrorRuns   int            `json:"wrong_error_runs"`
		MedianLostBytes  int64          `json:"median_lost_bytes"`
		FirstFailure     *failure       `json:"first_failure"`
		Repeat           string         `json:"repeat"`
	}
	type document struct {
		Version          int     `json:"version"`
		ExitStatus       int     `json:"exit_status"`
		Seed             uint64  `json:"seed"`
		Runs             int     `json:"runs"`
		SizeBytes        int64   `json:"size_bytes"`
		Rounds           int     `json:"rounds"`
		Trials           int     `json:"trials"`
		UndeterminedRuns int     `json:"undetermined_runs"`
		ElapsedSeconds   float64 `json:"elapsed_seconds"`
		Status           string  `json:"status"`
		Rows             []row   `json:"rows"`
	}
	var got document
	decoder := json.NewDecoder(&stdout)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if decoder.More() {
		t.Error("something follows the document")
	}
	got.ElapsedSeconds = 0
	for i := range got.Rows {
		if f := got.Rows[i].FirstFailure; f != nil {
			f.LostBytes, f.Detail = 0, ""
		}
		got.Rows[i].MedianLostBytes = 0
	}
	want := document{
		Version: 2, Seed: 3, Runs: 2, SizeBytes: 256 << 10, Rounds: 1, Trials: 4, Status: "clean",
		Rows: []row{
			{Scenario: "upload", Network: "pipe-linux", Stack: "stdlib", Role: "control", Threat: "data-loss", MustFail: true,
				Verdict: "silent-loss", Counts: map[string]int{"silent-loss": 2}, Trials: 2, LostRuns: 2, SilentLossRuns: 2,
				FirstFailure: &failure{Class: "silent-loss", Case: "upload:pipe-linux:stdlib:size=262144:seed=3:trial=0/2"},
				Repeat:       program() + " torture replay upload:pipe-linux:stdlib:size=262144:seed=3:trial=0/2"},
			{Scenario: "upload", Network: "pipe-linux", Stack: "tlsstream", Role: "under-test", Threat: "data-loss",
				Verdict: "ok", Counts: map[string]int{"ok": 2}, Trials: 2},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEachClassHasAnExitStatusOfItsOwn(t *testing.T) {
	taken := map[int]string{0: "success", exitError: "error", exitBlind: "blind", exitInterrupted: "interrupted"}
	for _, class := range torture.Failures() {
		status := exitOf(torture.StatusOf(class))
		if other, ok := taken[status]; ok {
			t.Errorf("%v has exit status %d, as %s has", class, status, other)
		}
		taken[status] = class.String()
	}
	for status, want := range map[torture.Status]int{torture.Clean: 0, torture.BlindControl: exitBlind, torture.Deadlocked: 3, "unknown": exitError} {
		if got := exitOf(status); got != want {
			t.Errorf("%v: exit status %d, want %d", status, got, want)
		}
	}
}

// The help lists the classes in the order in which they apply.
func TestExitStatusesAreInOrderOfGravity(t *testing.T) {
	var got []torture.Class
	for _, e := range verdictExits {
		got = append(got, e.class)
	}
	if diff := cmp.Diff(torture.Failures(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSizeFlag(t *testing.T) {
	for text, want := range map[string]byteSize{"1": 1, "65536": 64 << 10, "64KiB": 64 << 10, "3MiB": 3 << 20} {
		var got byteSize
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
		var again byteSize
		if err := again.Set(got.String()); err != nil || again != got {
			t.Errorf("%d is written %q, which reads %d, %v", got, got, again, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "KiB", "1kb", "1.5MiB", "0MiB", "99999999999999999MiB"} {
		var got byteSize
		if err := got.Set(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}
