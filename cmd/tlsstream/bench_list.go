package main

import (
	"fmt"
	"net"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/torture/bench"
)

// benchStacks are all stacks that can be named.
func benchStacks() []bench.Stack { return append([]bench.Stack{bench.Stdlib()}, bench.Stacks()...) }

func benchStackName(s bench.Stack) string { return s.Name }

// benchTerminators are all terminators: this program's first, which is the file self.
func benchTerminators(self string) []bench.Terminator {
	ours := bench.Terminator{
		Name: "tlsstream-proxy", About: "tlsstream proxy", Program: self,
		Command: func(p bench.Place) ([]string, error) {
			listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port))
			return []string{"proxy", "--listen", listen, "--to", p.Backend, "--cert", p.CertFile, "--key", p.KeyFile}, nil
		},
	}
	return append([]bench.Terminator{ours}, bench.Terminators()...)
}

func terminatorName(t bench.Terminator) string { return t.Name }

func newBenchListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Name the scenarios and stacks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := &errWriter{w: cmd.OutOrStdout()}
			table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "SCENARIO\tGROUP\tWHAT HAPPENS")
			for _, s := range bench.Scenarios() {
				fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, s.Group, s.About)
			}
			table.Flush()
			fmt.Fprintln(table, "\nSTACK\tWHAT IT IS")
			for _, s := range benchStacks() {
				fmt.Fprintf(table, "%s\t%s\n", s.Name, s.About)
			}
			table.Flush()
			fmt.Fprintln(table, "\nTERMINATOR\tWHAT IT IS")
			for _, t := range benchTerminators("") {
				fmt.Fprintf(table, "%s\t%s\n", t.Name, t.About)
			}
			table.Flush()
			fmt.Fprintln(out, "\nTerminators play the scenarios of the group terminator, and stacks all others; --stack names both.")
			return out.err
		},
	}
}
