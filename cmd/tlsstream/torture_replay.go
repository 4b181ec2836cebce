package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/torture"
)

const replayHelp = `Replay plays one case, which torture has printed: the same scenario, network, stack, sizes and
seed. Over a pipe it ends the same each time; over kernel TCP it may take several --runs to
see a reset come at the wrong moment again. The first run that failed is shown, else the last.

Exit status:
%s
With --json the result is one JSON document on standard output:
  version          of this format: 2
  exit_status      as above
  case             the ID
  verdict          class, lost_bytes, detail, stacks (of goroutines, where the run had to be stopped)
  client, server   sent_bytes, received_bytes, end_of_stream, error: what each side did and was told
  transcript[]     what happened, if it was watched:
    at_ns, side      when, and whose doing: client or server
    kind             record, hold, release, wait, fin, rst, close, lost, step or told
    inner            what a record carries, such as application_data or alert close_notify; opaque
                     if it could not be opened
    bytes            on the wire, with the header; content_bytes of them inside
    flight           the transport write of the side that the record left in
    unread           true if the peer never took it from its transport to the end
    count            how many records were held or released
    text             the rest: the step, the call that waits, what the side was told
  runs, failed_runs`

// A replayDocument is what replay --json prints.
type replayDocument struct {
	Version    int `json:"version"`
	ExitStatus int `json:"exit_status"`
	*torture.Played
	Runs       int `json:"runs"`
	FailedRuns int `json:"failed_runs"`
}

func newReplayCommand() *cobra.Command {
	var asJSON bool
	var runs int
	cmd := &cobra.Command{
		Use:     "replay ID",
		Short:   "Play one case again",
		Long:    fmt.Sprintf(replayHelp, exitHelp()),
		Example: "  tlsstream torture replay upload:pipe-strict:stdlib:size=65536:seed=7:trial=0/1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{"replay takes one case", `give an ID that "tlsstream torture" has printed`}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if runs < 1 {
				return &usageError{fmt.Sprintf("--runs %d is less than one", runs), "choose at least 1"}
			}
			return replay(cmd, args[0], runs, asJSON)
		},
	}
	cmd.Flags().IntVar(&runs, "runs", 1, "how often to play it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document instead of text")
	return cmd
}

func replay(cmd *cobra.Command, id string, runs int, asJSON bool) error {
	c, err := torture.ParseCase(id)
	if err != nil {
		return &usageError{strings.TrimPrefix(err.Error(), "torture: "), `give an ID that "tlsstream torture" has printed`}
	}
	doc := replayDocument{Version: formatVersion, Runs: runs}
	for range runs {
		played, err := torture.Replay(cmd.Context(), c)
		if cmd.Context().Err() != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "tlsstream: interrupted")
			return exitStatus(exitInterrupted)
		}
		if err != nil {
			return &usageError{strings.TrimPrefix(err.Error(), "torture: "), `run "tlsstream torture list"`}
		}
		status := exitOf(torture.StatusOf(played.Verdict.Class))
		if doc.FailedRuns == 0 {
			doc.Played, doc.ExitStatus = played, status
		}
		if status != 0 {
			doc.FailedRuns++
		}
	}
	if asJSON {
		err = encodeJSON(cmd.OutOrStdout(), doc)
	} else {
		err = writeReplay(cmd.OutOrStdout(), &doc)
	}
	if err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	if doc.ExitStatus != 0 {
		return exitStatus(doc.ExitStatus)
	}
	return nil
}

func writeReplay(w io.Writer, doc *replayDocument) error {
	out := &errWriter{w: w}
	fmt.Fprintf(out, "%v\n\n%v\n", doc.Case, doc.Verdict)
	for _, side := range []struct {
		name string
		torture.Told
	}{{"client", doc.Client}, {"server", doc.Server}} {
		told := "success"
		if side.Error != "" {
			told = fmt.Sprintf("%q", side.Error)
		}
		fmt.Fprintf(out, "%s: wrote %d bytes, read %d, was told %s\n", side.name, side.SentBytes, side.ReceivedBytes, told)
	}
	if doc.Runs > 1 {
		fmt.Fprintf(out, "%d of %d runs failed\n", doc.FailedRuns, doc.Runs)
	}
	if doc.Verdict.Stacks != "" {
		fmt.Fprintf(out, "\nWhere they stood:\n%s", doc.Verdict.Stacks)
	}
	if doc.Transcript != nil {
		fmt.Fprintf(out, "\nWhat happened:\n")
	}
	for _, e := range doc.Transcript {
		fmt.Fprintf(out, "%9.2f ms  %v\n", e.At.Seconds()*1e3, e)
	}
	return out.err
}
