package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Programs read the document. It must have the fields that --help describes, and no others.
func TestBenchDocumentIsAsDocumented(t *testing.T) {
	var stdout, stderr bytes.Buffer
	args := []string{"bench", "--json", "--rounds", "1", "--slice", "1ms", "--scenario", "handshake-full,idle-handshake",
		"--idle-connections", "50", "--stack", "tlsstream"}
	if status := run(t.Context(), args, &stdout, &stderr); status != 0 {
		t.Fatalf("exit status %d\n%s", status, &stderr)
	}
	type ratio struct {
		Median, Min, Max float64
	}
	type row struct {
		Scenario    string `json:"scenario"`
		Connections int    `json:"connections"`
		Stack       string `json:"stack"`
		Side        string `json:"side"`
		Role        string `json:"role"`
		Rounds      int    `json:"rounds"`
		Error       string `json:"error"`
		Ratio       ratio  `json:"ratio"`
		CPURatio    ratio  `json:"cpu_ratio"`
		Unit        string `json:"unit"`

		Rate        float64            `json:"rate"`
		ClientCPU   int64              `json:"client_cpu_ns"`
		ServerCPU   int64              `json:"server_cpu_ns"`
		Allocations map[string]float64 `json:"allocations"`
		Memory      map[string]float64 `json:"memory"`
	}
	type document struct {
		Version     int            `json:"version"`
		ExitStatus  int            `json:"exit_status"`
		Machine     map[string]any `json:"machine"`
		Rounds      int            `json:"rounds"`
		Slice       int64          `json:"slice_ns"`
		AnyCore     bool           `json:"any_core"`
		Elapsed     int64          `json:"elapsed_ns"`
		Interrupted bool           `json:"interrupted"`
		Notes       []string       `json:"notes"`
		Rows        []row          `json:"rows"`
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
	measured := cmpopts.IgnoreFields(row{}, "Ratio", "CPURatio", "Rate", "ClientCPU", "ServerCPU")
	fields := cmp.Transformer("fields", func(m map[string]float64) []string { return slices.Sorted(maps.Keys(m)) })
	counts := map[string]float64{"client": 1, "client_bytes": 1, "server": 1, "server_bytes": 1}
	bytes := map[string]float64{"client_heap": 1, "client_stack": 1, "server_heap": 1, "server_stack": 1}
	handshake := row{Scenario: "handshake-full", Connections: 1, Side: "both", Rounds: 1, Unit: "handshake", Allocations: counts}
	idle := row{Scenario: "idle-handshake", Connections: 50, Side: "both", Rounds: 1, Unit: "connection", Memory: bytes}
	of := func(r row, stack, role string) row {
		r.Stack, r.Role = stack, role
		return r
	}
	want := document{
		Version: 1, Machine: got.Machine, Rounds: 1, Slice: 1_000_000, Elapsed: got.Elapsed, Notes: []string{},
		Rows: []row{
			of(handshake, "stdlib", "baseline"), of(handshake, "stdlib", "control"), of(handshake, "tlsstream", "variant"),
			of(idle, "stdlib", "baseline"), of(idle, "stdlib", "control"), of(idle, "tlsstream", "variant"),
		},
	}
	if diff := cmp.Diff(want, got, measured, fields); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, r := range got.Rows {
		if (r.Ratio.Median > 0) == (r.Role == "baseline") {
			t.Errorf("row %d: ratio %v", i, r.Ratio)
		}
	}
	for _, name := range []string{"goos", "goarch", "go", "cpu", "cores", "load"} {
		if _, ok := got.Machine[name]; !ok {
			t.Errorf("machine has no %q", name)
		}
	}
}

// A user who asks for what cannot be is told what can.
func TestBenchTellsWhatCanBeMeasured(t *testing.T) {
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"--stack", "openssl", "--scenario", "idle,handshake-full"}, []string{"error: nothing to measure: none of",
			"hint: choose from the stacks that play handshake, idle: tlsstream, "}},
		{[]string{"--stack", "tlsstream", "--scenario", "terminator"}, []string{"error: nothing to measure: ",
			"hint: choose from the stacks that play terminator: tlsstream-proxy, nginx"}},
		{[]string{"--scenario", "bulky"}, []string{`unknown scenario "bulky"`, "hint: choose from the groups bulk, one-way, "}},
		{[]string{"--rounds", "20000"}, []string{"error: --rounds 20000 is out of range", "hint: choose from 1 to 10000"}},
		{[]string{"--connections", "8,0"}, []string{"error: --connections 0 is out of range"}},
		{[]string{"--idle-connections", "10"}, []string{"error: --idle-connections 10 is out of range", "hint: choose from 50 to "}},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), append([]string{"bench"}, test.args...), &stdout, &stderr); status != exitError {
			t.Errorf("%v: exit status %d", test.args, status)
		}
		for _, want := range test.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%v: no %q in\n%s", test.args, want, &stderr)
			}
		}
	}
}

// What can be named is in the help.
func TestBenchHelpNamesAll(t *testing.T) {
	help := benchHelp()
	for _, name := range append(names(benchStacks(), benchStackName), names(benchTerminators(""), terminatorName)...) {
		if !strings.Contains(help, name) {
			t.Errorf("no %s in\n%s", name, help)
		}
	}
}
