package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the report as tables, with what went wrong below, and last what is to be known about all figures.
func (r *Report) WriteText(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	separator := ""
	for _, t := range tables {
		rows := slices.DeleteFunc(slices.Clone(r.Rows), func(row Row) bool { return !t.has(&row) })
		if len(rows) == 0 {
			continue
		}
		fmt.Fprint(out, separator, "SCENARIO\tCONNS\tSTACK\t", strings.Join(t.heading, "\t"), "\n")
		separator = "\n"
		for i := range rows {
			row := &rows[i]
			fmt.Fprintf(out, "%s\t%d\t%s\t%s\n", row.Scenario, row.Connections, row.label(),
				strings.Join(t.cells(row, baselineOf(rows, row)), "\t"))
		}
		// Each table has columns of its own.
		if err := out.Flush(); err != nil {
			return err
		}
	}
	var text strings.Builder
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Error != "" {
			fmt.Fprintf(&text, "\n%s, %d connections, %s failed after %d rounds: %s\n",
				row.Scenario, row.Connections, row.label(), row.Rounds, row.Error)
		}
	}
	fmt.Fprintf(&text, "\n%s\n%s\n", strings.Join(r.method(), "\n"), r.Machine)
	_, err := io.WriteString(w, text.String())
	return err
}

// A table shows some columns of the rows that have them.
type table struct {
	heading []string
	has     func(*Row) bool
	cells   func(row, baseline *Row) []string
}

var tables = []table{
	{
		heading: []string{"RATIO", "MIN–MAX", "RATE", "CLIENT CPU", "SERVER CPU", "PER"},
		has:     func(row *Row) bool { return !row.isIdle() },
		cells: func(row, _ *Row) []string {
			ratio, between := "-", "-"
			if row.Role != Baseline && row.Rounds > 0 {
				ratio = fmt.Sprintf("%.2f", row.Ratio.Median)
				between = fmt.Sprintf("%.2f–%.2f", row.Ratio.Min, row.Ratio.Max)
			}
			return []string{ratio, between, row.rate(), micros(row.ClientCPU), micros(row.ServerCPU), row.Unit}
		},
	},
	{
		heading: []string{"CLIENT ALLOCS", "CLIENT BYTES", "SERVER ALLOCS", "SERVER BYTES"},
		has:     func(row *Row) bool { return row.Allocations != nil },
		cells: func(row, baseline *Row) []string {
			a, b := row.Allocations, baseline.Allocations
			if row == baseline {
				b = &Allocations{}
			}
			return []string{
				more(a.Client, b.Client), more(a.ClientBytes, b.ClientBytes),
				more(a.Server, b.Server), more(a.ServerBytes, b.ServerBytes),
			}
		},
	},
	{
		heading: []string{"RATIO", "CLIENT HEAP", "CLIENT STACK", "SERVER HEAP", "SERVER STACK"},
		has:     func(row *Row) bool { return row.isIdle() },
		cells: func(row, baseline *Row) []string {
			m := row.Memory
			if m == nil {
				return []string{"-", "-", "-", "-", "-"}
			}
			ratio := "-"
			if row != baseline {
				ratio = fmt.Sprintf("%.2f", row.Ratio.Median)
			}
			return []string{ratio, kib(m.ClientHeap), kib(m.ClientStack), kib(m.ServerHeap), kib(m.ServerStack)}
		},
	},
}

// baselineOf returns the row that a row is compared with, which may be itself.
func baselineOf(rows []Row, row *Row) *Row {
	for i := range rows {
		if b := &rows[i]; b.Role == Baseline && b.Scenario == row.Scenario && b.Connections == row.Connections {
			return b
		}
	}
	return row
}

// more writes a number with what it is more than the baseline's, if there is one.
func more(value, baseline float64) string {
	switch {
	case value == 0:
		return "-" // it failed
	case baseline == 0:
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.0f (%+d)", value, int64(math.Round(value-baseline)))
}

// isIdle reports whether a row is about memory, and not about speed.
func (row *Row) isIdle() bool { return row.Unit == idleUnit }

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
	case row.Unit == bulkUnit:
		return fmt.Sprintf("%.0f MB/s", row.Rate*bulkUnitBytes/1e6)
	}
	return fmt.Sprintf("%.0f/s", row.Rate)
}

func micros(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f µs", float64(d)/float64(time.Microsecond))
}

func kib(bytes float64) string { return fmt.Sprintf("%.1f KiB", bytes/1024) }

// method says how the figures came about, a line or more for each thing.
func (r *Report) method() []string {
	text := []string{
		fmt.Sprintf("Each ratio is of a rate to that of stock crypto/tls in the slices before and after, of about %v each: the median of", r.Slice),
		fmt.Sprintf("blocks of five rounds, with the least and the greatest block. %d rounds. The control is stock crypto/tls measured as the", r.Rounds),
		"others are: what it differs from 1 by is noise, and what a stack differs by less than that is noise too.",
		"Client and server are processes, each on a half of the cores if the system is Linux, over loopback, with AES-128-GCM;",
		"their times are user's and system's.",
	}
	if slices.ContainsFunc(r.Rows, func(row Row) bool { return row.isIdle() }) {
		text = append(text, "Memory is that of live objects and of goroutines' stacks, for each connection; its ratio is of all four, and less is lighter.")
	}
	for _, note := range r.Notes {
		text = append(text, "Note: "+note+".")
	}
	if r.Interrupted {
		text = append(text, "It was interrupted: not all was measured.")
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
