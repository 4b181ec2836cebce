package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/deferredtls/deferredtls/torture"
)

// formatVersion is that of the JSON documents.
const formatVersion = 2

// A document is what --json prints. The help of the command describes it.
type document struct {
	Version    int `json:"version"`
	ExitStatus int `json:"exit_status"`
	*torture.Report
	Rows []documentRow `json:"rows"`
}

type documentRow struct {
	torture.Row
	Repeat string `json:"repeat"`

	// Exhibit hides that of the row: transcripts would make up most of the document. replay --json has them.
	Exhibit *struct{} `json:"exhibit,omitempty"`
}

func writeJSON(w io.Writer, report *torture.Report) error {
	doc := document{Version: formatVersion, ExitStatus: exitOf(report.Status), Report: report}
	for _, row := range report.Rows {
		doc.Rows = append(doc.Rows, documentRow{Row: row, Repeat: repeat(&row)})
	}
	return encodeJSON(w, doc)
}

func encodeJSON(w io.Writer, document any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

// writeText prints the table, then what went wrong and how to see it again, and last what it means.
func writeText(w io.Writer, report *torture.Report) error {
	out := &errWriter{w: w}
	report.WriteTable(out)
	heading := "\nHow a row failed, and the command that plays it again:\n"
	shown := make(map[torture.Threat]bool)
	for i := range report.Rows {
		row := &report.Rows[i]
		if row.FailedRuns() == 0 {
			continue
		}
		if row.Role == torture.Control {
			// What was expected needs one example of each kind.
			if shown[row.Threat] {
				continue
			}
			shown[row.Threat] = true
		}
		fmt.Fprintf(out, "%s%s over %s, %s: %v\n    %s\n", heading, row.Scenario, row.Network, row.Stack, row.FirstFailure.Verdict, repeat(row))
		heading = ""
	}
	fmt.Fprintf(out, "\n")
	for _, sentence := range report.Summary() {
		fmt.Fprintln(out, sentence)
	}
	fmt.Fprintf(out, "(%d runs, %.0f s)\n", report.Trials, report.ElapsedSeconds)
	return out.err
}

// repeat is the command that plays a row's first failure again, reduced if it was; empty for a row without a failure.
func repeat(row *torture.Row) string {
	if row.FailedRuns() == 0 {
		return ""
	}
	return program() + " torture replay " + row.FirstFailure.Smallest().String()
}

// program is how this program was started: "go run" builds it into a folder of
// that name, and leaves nothing to call by another.
func program() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/tlsstream"
	}
	return "tlsstream"
}

// An errWriter keeps the first error, so that a page of output needs one check.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	var n int
	n, e.err = e.w.Write(p)
	return n, e.err
}
