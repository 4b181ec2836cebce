package torture

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/deferredtls/deferredtls/torture/internal/look"
)

//go:embed report_html
var htmlFiles embed.FS

// WriteHTML writes the report as one page that needs nothing else: the matrix of scenario, network and stack, and for
// each cell the exhibit as a sequence diagram, with what each side was told and the command that plays it again. A
// cell can be addressed: its fragment is scenario.network.stack.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := htmlTemplate()
	if err != nil {
		return fmt.Errorf("torture: report page: %w", err)
	}
	var out bytes.Buffer // an error must not leave half a page behind
	if err := page.Execute(&out, r.page()); err != nil {
		return fmt.Errorf("torture: report page: %w", err)
	}
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("torture: report page: %w", err)
	}
	return nil
}

func htmlTemplate() (*template.Template, error) {
	return template.New("page.tmpl").Funcs(template.FuncMap{
		"bytes": byteCount,
		"add":   func(a, b int) int { return a + b },
	}).ParseFS(htmlFiles, "report_html/*.tmpl")
}

// A htmlPage is what the template shows.
type htmlPage struct {
	*Report
	GoVersion  string
	Command    string
	Style      template.CSS
	Script     template.JS
	ScriptHash template.HTMLAttr
	Stacks     []htmlChoice
	Networks   []htmlChoice
	Verdicts   []htmlChoice
	Groups     []htmlGroup
	Cells      []*htmlCell // in the order of the matrix
	Failures   []*htmlCell // of stacks under test
}

// A htmlChoice is a button of a filter.
type htmlChoice struct {
	Name   string
	Symbol string
	Cells  int
	Index  int
	Role   Role // of a stack
}

// A htmlGroup is a scenario, a htmlLine one network of it; the cells of a line are by stack.
type htmlGroup struct {
	Name, About string
	Lines       []*htmlLine
}

type htmlLine struct {
	Network string
	Index   int
	Cells   []*htmlCell
}

type htmlCell struct {
	*Row
	ID      string
	Verdict string // with "blind" among them
	Class   string
	Symbol  string
	Note    string // "as expected", and the like
	Count   string // such as 3/30
	Ended   []htmlCount
	Failure *Verdict
	Told    []Event
	Diagram *sequence
	Text    string    // the transcript, a line for each event
	Replay  string    // the command that plays the one trial again
	Command string    // and all of them
	Index   int       // of the stack
	Before  *htmlCell // neighbours in the order of the matrix
	After   *htmlCell
}

// A htmlCount is how many trials of a cell ended in a class.
type htmlCount struct {
	Class  Class
	Trials int
}

// verdictSymbols say in shape what the colours say.
var verdictSymbols = map[string]string{
	"ok": "✓", "blind": "○", "skipped": "–", "limited": "≤", "undetermined": "?", "slow": "~", "leaked-goroutine": "∞", "wrong-error": "!",
	"hung-close": "|", "deadlock": "‖", "lost": "×", "silent-loss": "×", "reordered": "↔", "corrupted": "≠",
}

// page puts the rows into the order of the page.
func (r *Report) page() *htmlPage {
	style, _ := htmlFiles.ReadFile("report_html/style.css")
	script, _ := htmlFiles.ReadFile("report_html/script.js")
	hash := sha256.Sum256(script)
	p := &htmlPage{
		Report:     r,
		GoVersion:  fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH),
		Command:    r.command(nil),
		Style:      template.CSS(look.Style + string(style)),
		Script:     template.JS(script),
		ScriptHash: template.HTMLAttr(base64.StdEncoding.EncodeToString(hash[:])),
	}
	about := make(map[string]string)
	for _, s := range Scenarios() {
		about[s.Name] = s.About
	}
	ids := make(map[string]bool)
	var groups []*htmlGroup
	for i := range r.Rows {
		cell := r.cell(&r.Rows[i], ids)
		cell.Index = choose(&p.Stacks, cell.Stack, "", cell.Role)
		choose(&p.Verdicts, cell.Verdict, cell.Symbol, "")
		network := choose(&p.Networks, cell.Network, "", "")

		at := slices.IndexFunc(groups, func(g *htmlGroup) bool { return g.Name == cell.Scenario })
		if at < 0 {
			at = len(groups)
			groups = append(groups, &htmlGroup{Name: cell.Scenario, About: about[cell.Scenario]})
		}
		group := groups[at]
		at = slices.IndexFunc(group.Lines, func(l *htmlLine) bool {
			taken := slices.ContainsFunc(l.Cells, func(c *htmlCell) bool { return c.Index == cell.Index })
			return l.Network == cell.Network && !taken
		})
		if at < 0 {
			at = len(group.Lines)
			group.Lines = append(group.Lines, &htmlLine{Network: cell.Network, Index: network})
		}
		group.Lines[at].Cells = append(group.Lines[at].Cells, cell)
	}
	for _, g := range groups {
		for _, l := range g.Lines {
			byStack := make([]*htmlCell, len(p.Stacks))
			for _, c := range l.Cells {
				byStack[c.Index] = c
			}
			for _, c := range byStack {
				if c == nil {
					continue
				}
				if n := len(p.Cells); n > 0 {
					c.Before, p.Cells[n-1].After = p.Cells[n-1], c
				}
				p.Cells = append(p.Cells, c)
				if c.Role == UnderTest && c.Row.Verdict.failed() {
					p.Failures = append(p.Failures, c)
				}
			}
			l.Cells = byStack
		}
		p.Groups = append(p.Groups, *g)
	}
	return p
}

// choose counts a cell for the choice of that name, and returns its index.
func choose(choices *[]htmlChoice, name, symbol string, role Role) int {
	i := slices.IndexFunc(*choices, func(c htmlChoice) bool { return c.Name == name })
	if i < 0 {
		i = len(*choices)
		*choices = append(*choices, htmlChoice{Name: name, Symbol: symbol, Index: i, Role: role})
	}
	(*choices)[i].Cells++
	return i
}

// cell is a row as the page shows it. Two rows may have the same names, but no two cells the same ID.
func (r *Report) cell(row *Row, ids map[string]bool) *htmlCell {
	c := &htmlCell{Row: row, Verdict: row.Verdict.String(), Command: r.command(row)}
	for class := range row.Counts {
		c.Ended = append(c.Ended, htmlCount{class, row.Counts[class]})
	}
	slices.SortFunc(c.Ended, func(a, b htmlCount) int { return cmp.Compare(b.Class, a.Class) })
	if row.Blind {
		c.Verdict = "blind"
	}
	c.Class = "v-" + c.Verdict
	if row.Role == Control && row.Verdict.failed() {
		c.Class += " expected"
	}
	if row.Reason == "" { // which is too long for the matrix
		c.Note = row.note()
	}
	c.Symbol = verdictSymbols[c.Verdict]
	c.Count = fmt.Sprintf("%d/%d", row.FailedRuns(), row.Trials)
	if row.FirstFailure != nil {
		c.Failure = &row.FirstFailure.Verdict
		c.Replay = replayCommand(row.FirstFailure.Smallest())
	}
	id := slug(row.Scenario) + "." + slug(row.Network) + "." + slug(row.Stack)
	c.ID = id
	for n := 2; ids[c.ID]; n++ {
		c.ID = fmt.Sprintf("%s.%d", id, n)
	}
	ids[c.ID] = true

	if row.Exhibit == nil {
		return c
	}
	if c.Replay == "" {
		c.Replay = replayCommand(row.Exhibit.Case)
	}
	title := fmt.Sprintf("%s over %s, %s, trial %d", row.Scenario, row.Network, row.Stack, row.Exhibit.Trial)
	c.Diagram = newSequence(printable(title), row.Exhibit.Events)
	var text strings.Builder
	for _, e := range row.Exhibit.Events {
		if e.Kind == EventTold {
			c.Told = append(c.Told, e)
		}
		fmt.Fprintf(&text, "%9.2f ms  %s\n", e.At.Seconds()*1e3, printable(e.String()))
	}
	c.Text = text.String()
	return c
}

// command is what plays the report again, or one row of it.
func (r *Report) command(row *Row) string {
	command := fmt.Sprintf("tlsstream torture --seed %d --runs %d --size %d", r.Seed, r.Runs, r.SizeBytes)
	if row == nil {
		// A report does not know its plan's flags: it names the scenarios if they are not all.
		var played []string
		for i := range r.Rows {
			if name := r.Rows[i].Scenario; !slices.Contains(played, name) {
				played = append(played, name)
			}
		}
		if len(played) < len(Scenarios()) {
			command += " --scenario " + strings.Join(played, ",")
		}
	} else {
		command += fmt.Sprintf(" --scenario %s --network %s --stack %s", row.Scenario, row.Network, row.Stack)
	}
	return command
}

func replayCommand(c Case) string { return "tlsstream torture replay " + c.String() }

// slug makes of a name what may stand in an ID and in a fragment without escapes.
func slug(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return '_'
	}, name)
}
