// Command tlsstream shows what TLS streams do to their users, and what this module does about it.
//
//	tlsstream torture              make stock crypto/tls lose uploads and deadlock, and this module not
//	tlsstream torture list         name the scenarios, networks and stacks
//	tlsstream torture replay ID    play one case again that torture has printed
//	tlsstream bench                measure speed and memory against crypto/tls
//	tlsstream proxy                put TLS in front of a TCP service, or of a client that has none
//	tlsstream ftpd                 receive files over FTPS, whole or not at all
//	tlsstream probe HOST:PORT      tell whether clients that only write are safe with a server
//	tlsstream get URL              download a file that is whole, or say why not
//	tlsstream version              print the version
//
// Each command has a --help, which describes its JSON and its exit statuses: 0 for success, 1 for wrong usage or an
// internal error, 130 after an interrupt, and others for what the command found.
package main

// The rules of this program:
//
//   - Results go to standard output. All else goes to standard error: progress, errors, hints.
//   - With --json, standard output holds one JSON document and nothing else.
//   - Progress rewrites one line if standard error is a terminal, and appends a line now and then if not.
//   - Errors are lower case, begin with "tlsstream: error: ", and have a hint under them if the user can do something.
//   - Whatever is random is printed before it is used, with the flag that repeats it.
//   - A failure prints the command that repeats it.
//   - Each class of outcome has its own exit status, documented in --help. 1 is for wrong usage and internal errors.
//   - An interrupt ends the program in good order, with status 130.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/torture/bench"
)

const (
	exitError       = 1
	exitInterrupted = 130
)

func main() {
	bench.Endpoint()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second interrupt, while the first is being served, kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "tlsstream",
		Short:         "TLS 1.3 streams that never write out of turn",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newTortureCommand(), newBenchCommand(), newProxyCommand(), newFtpdCommand(), newProbeCommand(), newGetCommand(), newVersionCommand())

	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[exitStatus](err); ok {
		return int(exit)
	}
	fmt.Fprintf(stderr, "tlsstream: error: %v\n", err)
	hint := fmt.Sprintf("run %q", cmd.CommandPath()+" --help")
	if u, ok := errors.AsType[*usageError](err); ok {
		hint = u.hint
	}
	fmt.Fprintf(stderr, "tlsstream: hint: %s\n", hint)
	return exitError
}

// An exitStatus ends the program with a status whose cause has been printed.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// A usageError is a mistake of the user, with what to do about it.
type usageError struct{ problem, hint string }

func (e *usageError) Error() string { return e.problem }

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			version := "(devel)"
			if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
				version = info.Main.Version
			}
			fmt.Fprintf(cmd.OutOrStdout(), "tlsstream %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
