package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the report as tables, with what went wrong below, and last what is to be known about all figures.
func (r *Report) WriteText(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	separator := ""
	for _, t := range tables {
		rows := r.of(t.has)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprint(out, separator, strings.Join(t.columns(), "\t"), "\n")
		separator = "\n"
		for i := range rows {
			fmt.Fprintln(out, strings.Join(t.line(rows, &rows[i]), "\t"))
		}
		// Each table has columns of its own.
		if err := out.Flush(); err != nil {
			return err
		}
	}
	var text strings.Builder
	for _, failure := range r.failures() {
		fmt.Fprintf(&text, "\n%s\n", failure)
	}
	fmt.Fprintln(&text)
	for _, line := range slices.Concat(r.method(), r.remarks(), []string{r.Machine.String()}) {
		fmt.Fprintln(&text, line)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// of returns some of the rows.
func (r *Report) of(wanted func(*Row) bool) []Row {
	return slices.DeleteFunc(slices.Clone(r.Rows), func(row Row) bool { return !wanted(&row) })
}

// failures say how stacks failed.
func (r *Report) failures() []string {
	var failures []string
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Error != "" {
			failures = append(failures, fmt.Sprintf("%s, %s, %s failed after %s: %s",
				row.Scenario, counted(row.Connections, "connection"), row.label(), counted(row.Rounds, "round"), row.Error))
		}
	}
	return failures
}

// A table shows some columns of the rows that have them.
type table struct {
	heading []string
	has     func(*Row) bool
	cells   func(row, baseline *Row) []string
}

func (t *table) columns() []string {
	return append([]string{"SCENARIO", "CONNS", "STACK"}, t.heading...)
}

// line is that of a row among others.
func (t *table) line(rows []Row, row *Row) []string {
	return append([]string{row.Scenario, strconv.Itoa(row.Connections), row.label()}, t.cells(row, baselineOf(rows, row))...)
}

var tables = []table{
	{
		heading: []string{"RATIO", "MIN–MAX", "RATE", "CPU RATIO", "CLIENT CPU", "SERVER CPU", "PER"},
		has:     func(row *Row) bool { return !row.isIdle() },
		cells: func(row, _ *Row) []string {
			ratio, between, cost := "-", "-", "-"
			if row.Role != Baseline && row.Rounds > 0 {
				ratio = fmt.Sprintf("%.2f", row.Ratio.Median)
			}
			if row.Role != Baseline && hasBlocks(row.Rounds) {
				between = fmt.Sprintf("%.2f–%.2f", row.Ratio.Min, row.Ratio.Max)
			}
			if row.CPURatio.Median > 0 {
				cost = fmt.Sprintf("%.2f", row.CPURatio.Median)
			}
			return []string{ratio, between, row.rate(), cost, micros(row.ClientCPU), micros(row.ServerCPU), row.Unit}
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

// method says how the figures came about, in lines.
func (r *Report) method() []string {
	cores := "each on a half of the cores if the system is Linux"
	if r.AnyCore {
		cores = "on any core"
	}
	text := []string{
		fmt.Sprintf("Each ratio is of a rate to that of stock crypto/tls in the slices before and after, of about %v each: the median of", r.Slice),
		fmt.Sprintf("blocks of five rounds, with the least and the greatest block. %s. The control is stock crypto/tls measured as the", counted(r.Rounds, "round")),
		"others are: what it differs from 1 by is noise, and what a stack differs by less than that is noise too.",
		"Client and server are processes, " + cores + ", over loopback, with AES-128-GCM;",
		"their times are user's and system's. The CPU ratio is of both together, and less is cheaper; where other processes take",
		"their share of the machine it says more than rates do. Rates are medians of all slices, and do not divide to the ratio.",
	}
	if slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Stack == stdlibProxy }) {
		text = append(text, "Terminators are compared with a careful proxy on crypto/tls, and the server's time is theirs; client and sink share",
			"the first half of the cores, if there are halves.")
	}
	if slices.ContainsFunc(r.Rows, func(row Row) bool { return row.isIdle() }) {
		text = append(text, "Memory is that of live objects and of goroutines' stacks, for each connection; its ratio is of all four, and less is lighter.")
	}
	return text
}

// steady is how far from 1 a control may be, in the hundredths that are printed, before the report says that the machine
// was not quiet.
const steady = 3

// remarks say what is special about this report.
func (r *Report) remarks() []string {
	var remarks []string
	var noisy []string
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Role == Control && row.Rounds > 0 && math.Abs(math.Round(100*row.Ratio.Median)-100) > steady {
			noisy = append(noisy, fmt.Sprintf("%s with %s (%.2f)", row.Scenario, counted(row.Connections, "connection"), row.Ratio.Median))
		}
	}
	if len(noisy) > 0 {
		remarks = append(remarks, "Noisy: the machine was not quiet, and the control is not within 0.03 of 1, in "+strings.Join(noisy, ", ")+".")
	}
	for _, note := range r.Notes {
		remarks = append(remarks, "Note: "+note+".")
	}
	if r.Interrupted {
		remarks = append(remarks, "It was interrupted: not all was measured.")
	}
	return remarks
}

// counted writes a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
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
