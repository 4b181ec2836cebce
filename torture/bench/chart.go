package bench

import (
	"fmt"
	"math"
)

// A chart has a line for each row of a group of scenarios. Its lengths are in the units of its view box.
type chart struct {
	Name, Says    string
	Width, Height int
	Top           int    // of the first line
	Left, Right   string // where labels and values end
	Ticks         []tick
	Lines         []line
	Key           []key
}

type tick struct {
	X, Text string
	One     bool // the baseline's ratio
}

// A line is a heading, or a row.
type line struct {
	Heading          string
	Class            Role
	Label, Value     string
	Baseline, Middle int // of its text, and of its bars
	Bars             []bar
	Dot              string // empty without
}

type bar struct{ Class, X, Y, Width, Height string }

type key struct{ Class, Text string }

const (
	chartWidth  = 900
	labelsEnd   = 190
	scaleBegins = 205
	scaleEnds   = 780
	chartTop    = 20
	lineHeight  = 20
	barHeight   = 8
)

// charts are one for each group of scenarios with rows.
func (r *Report) charts() []*chart {
	var all []*chart
	group := ""
	for _, s := range Scenarios() {
		if s.Group == group {
			continue
		}
		group = s.Group
		rows := r.of(func(row *Row) bool { return groupOf(row) == group && row.Error == "" && row.Rounds > 0 })
		switch {
		case len(rows) == 0:
		case rows[0].isIdle():
			all = append(all, memoryChart(group, rows))
		default:
			all = append(all, ratioChart(group, rows))
		}
	}
	return all
}

// groupOf is empty of a row whose scenario is unknown here.
func groupOf(row *Row) string {
	for _, s := range Scenarios() {
		if s.Name == row.Scenario {
			return s.Group
		}
	}
	return ""
}

// newChart has lines for rows, which draw fills in.
func newChart(name, says string, rows []Row, draw func(*Row, *line)) *chart {
	c := &chart{Name: name, Says: says, Width: chartWidth, Top: chartTop,
		Left: pixels(labelsEnd), Right: pixels(chartWidth)}
	at := chartTop
	add := func(l line) {
		l.Middle = at + lineHeight/2
		l.Baseline = l.Middle + 4
		at += lineHeight
		c.Lines = append(c.Lines, l)
	}
	before := ""
	for i := range rows {
		row := &rows[i]
		heading := fmt.Sprintf("%s, %d connections", row.Scenario, row.Connections)
		if row.Connections == 1 {
			heading = row.Scenario
		}
		if heading != before {
			add(line{Heading: heading})
			before = heading
		}
		l := line{Class: row.Role, Label: row.label(), Middle: at + lineHeight/2}
		draw(row, &l)
		add(l)
	}
	c.Height = at
	return c
}

// ratioTicks are where a scale of ratios can have its ticks; 0 and infinity are not on it.
var ratioTicks = []float64{0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 32, 64}

// ratioChart shows how far rows are from the baseline, on a logarithmic scale: half is as far as double.
func ratioChart(name string, rows []Row) *chart {
	low, high := 0.75, 1.25
	var shown []Row
	for _, row := range rows {
		if row.Role != Baseline {
			low, high = min(low, row.Ratio.Min), max(high, row.Ratio.Max)
			shown = append(shown, row)
		}
	}
	low, high = max(low, ratioTicks[0])*0.98, min(high, ratioTicks[len(ratioTicks)-1])*1.02
	x := func(ratio float64) float64 {
		share := math.Log(min(max(ratio, low), high)/low) / math.Log(high/low)
		return scaleBegins + share*(scaleEnds-scaleBegins)
	}
	c := newChart(name, "Rate, times that of stock crypto/tls: the dot is the median, the bar from the least to the greatest block", shown,
		func(row *Row, l *line) {
			from, to := x(row.Ratio.Min), x(row.Ratio.Max)
			l.Bars = []bar{newBar("spread", from, l.Middle, to-from)}
			l.Dot = pixels(x(row.Ratio.Median))
			l.Value = fmt.Sprintf("%.2f", row.Ratio.Median)
			if hasBlocks(row.Rounds) {
				l.Value += fmt.Sprintf(" (%.2f–%.2f)", row.Ratio.Min, row.Ratio.Max)
			}
		})
	for _, at := range ratioTicks {
		if at > low && at < high {
			c.Ticks = append(c.Ticks, tick{X: pixels(x(at)), Text: fmt.Sprint(at), One: at == 1})
		}
	}
	return c
}

// memoryTicks is about how many ticks a scale of bytes has.
const memoryTicks = 6

// memoryChart shows what a connection holds at both ends together.
func memoryChart(name string, rows []Row) *chart {
	most := 1.0
	for _, row := range rows {
		most = max(most, row.Memory.total())
	}
	x := func(bytes float64) float64 { return scaleBegins + max(0, bytes)/most*(scaleEnds-scaleBegins) }
	c := newChart(name, "Memory of an idle connection, client and server together", rows, func(row *Row, l *line) {
		heap := row.Memory.ClientHeap + row.Memory.ServerHeap
		l.Bars = []bar{
			newBar("heap", x(0), l.Middle, x(heap)-x(0)),
			newBar("stack", x(heap), l.Middle, x(row.Memory.total())-x(heap)),
		}
		l.Value = kib(row.Memory.total())
		if row.Role != Baseline {
			l.Value = fmt.Sprintf("%s (×%.2f)", l.Value, row.Ratio.Median)
		}
	})
	step := math.Exp2(math.Ceil(math.Log2(most / memoryTicks)))
	for at := 0.0; at <= most; at += step {
		c.Ticks = append(c.Ticks, tick{X: pixels(x(at)), Text: kib(at)})
	}
	c.Key = []key{{"heap", "heap"}, {"stack", "stacks of goroutines"}}
	return c
}

func newBar(class string, x float64, middle int, width float64) bar {
	return bar{class, pixels(x), pixels(float64(middle - barHeight/2)), pixels(max(1, width)), pixels(barHeight)}
}
