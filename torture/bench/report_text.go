package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// WriteText writes the report as a table, with the machine above and what is to be known about it below.
func (r *Report) WriteText(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "SCENARIO\tCONNS\tSTACK\tRATIO\tMIN–MAX\tRATE\tCLIENT CPU\tSERVER CPU\tPER")
	var failed []*Row
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Error != "" {
			failed = append(failed, row)
		}
		ratio, between := "-", "-"
		if row.Role != Baseline && row.Rounds > 0 {
			ratio = fmt.Sprintf("%.2f", row.Ratio.Median)
			between = fmt.Sprintf("%.2f–%.2f", row.Ratio.Min, row.Ratio.Max)
		}
		fmt.Fprintf(out, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.Scenario, row.Connections, row.label(), ratio, between,
			row.rate(), micros(row.ClientCPU), micros(row.ServerCPU), row.Unit)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, row := range failed {
		if _, err := fmt.Fprintf(w, "\n%s, %d connections, %s failed after %d rounds: %s\n",
			row.Scenario, row.Connections, row.label(), row.Rounds, row.Error); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n%s\n", r.method(), r.Machine)
	return err
}

// label names the stack, and its side if it is not both.
func (row *Row) label() string {
	name := row.Stack
	if row.Side != Both {
		name += ", " + string(row.Side) + " only"
	}
	if row.Role == Control {
		name += " (control)"
	}
	return name
}

// rate is in bytes where the unit is, and else in units.
func (row *Row) rate() string {
	switch {
	case row.Rate == 0:
		return "-"
	case row.Unit == "16 KiB":
		return fmt.Sprintf("%.0f MB/s", row.Rate*bulkUnit/1e6)
	}
	return fmt.Sprintf("%.0f/s", row.Rate)
}

func micros(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f µs", float64(d)/float64(time.Microsecond))
}

// method says how the figures came about.
func (r *Report) method() string {
	text := fmt.Sprintf("Each ratio is of a rate to that of stock crypto/tls in the slices before and after, of about %v each: the median\n"+
		"of blocks of five rounds, and the least and the greatest block. %d rounds. The control is stock crypto/tls measured as\n"+
		"the others are: what it differs from 1 by is noise, and what a stack differs by less than that is noise too.\n"+
		"Client and server are processes, each on a half of the cores if the system is Linux, over loopback, with AES-128-GCM;\n"+
		"their times are user's and system's.",
		r.Slice, r.Rounds)
	if r.Interrupted {
		text += "\nIt was interrupted: not all was measured."
	}
	return text
}

// String is in one line.
func (m Machine) String() string {
	text := fmt.Sprintf("%s %s/%s, %d cores", m.Go, m.GOOS, m.GOARCH, m.Cores)
	if m.CPU != "" {
		text += " of " + m.CPU
	}
	if m.Load != "" {
		text += ", load at the start " + m.Load
	}
	return text
}
