package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/torture"
)

const listHelp = `List names what torture can play: scenarios with the networks that they run on, networks,
and stacks.

With --json the result is one JSON document on standard output:
  version       of this format: 2
  scenarios[]   name, about, threat, networks[], reports[] (issues in other projects that it
                reproduces)
  networks[]    name, about
  stacks[]      name, control (whether it runs as a control beside others), default (whether it
                runs unless stacks are named)`

// A listDocument is what list --json prints.
type listDocument struct {
	Version   int            `json:"version"`
	Scenarios []listScenario `json:"scenarios"`
	Networks  []listNetwork  `json:"networks"`
	Stacks    []listStack    `json:"stacks"`
}

type listScenario struct {
	Name     string         `json:"name"`
	About    string         `json:"about"`
	Threat   torture.Threat `json:"threat"`
	Networks []string       `json:"networks"`
	Reports  []string       `json:"reports"`
}

type listNetwork struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

type listStack struct {
	Name    string `json:"name"`
	Control bool   `json:"control"`
	Default bool   `json:"default"`
}

func newListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Name the scenarios, networks and stacks",
		Long:  listHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			doc := newListDocument()
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), doc)
			}
			return writeList(cmd.OutOrStdout(), doc)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document instead of text")
	return cmd
}

func newListDocument() listDocument {
	doc := listDocument{Version: formatVersion}
	for _, s := range torture.Scenarios() {
		doc.Scenarios = append(doc.Scenarios, listScenario{s.Name, s.About, s.Threat, networksOf(s), s.Reports})
	}
	for _, n := range torture.Networks() {
		doc.Networks = append(doc.Networks, listNetwork{n.Name, n.About})
	}
	named := len(torture.Stacks())
	for i, s := range allStacks() {
		doc.Stacks = append(doc.Stacks, listStack{s.Name, s.Name == torture.Stdlib().Name, i < named})
	}
	return doc
}

func writeList(w io.Writer, doc listDocument) error {
	out := &errWriter{w: w}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SCENARIO\tTHREAT\tNETWORKS\tWHAT HAPPENS")
	for _, s := range doc.Scenarios {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.Name, s.Threat, strings.Join(s.Networks, ","), s.About)
	}
	table.Flush()
	fmt.Fprintln(table, "\nNETWORK\tWHAT IT IS")
	for _, n := range doc.Networks {
		fmt.Fprintf(table, "%s\t%s\n", n.Name, n.About)
	}
	table.Flush()
	fmt.Fprintln(table, "\nSTACK\tROLE")
	for _, s := range doc.Stacks {
		role := string(torture.UnderTest)
		switch {
		case s.Control:
			role = string(torture.Control)
		case !s.Default:
			role += ", if named"
		}
		fmt.Fprintf(table, "%s\t%s\n", s.Name, role)
	}
	table.Flush()
	return out.err
}
