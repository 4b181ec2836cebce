package bench

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"

	"github.com/deferredtls/deferredtls/torture/internal/look"
)

//go:embed report_html
var htmlFiles embed.FS

// WriteHTML writes the report as one page that needs nothing else: a chart for each group of scenarios, and the tables.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.ParseFS(htmlFiles, "report_html/page.tmpl")
	if err != nil {
		return fmt.Errorf("bench: report page: %w", err)
	}
	var out bytes.Buffer // an error must not leave half a page behind
	if err := page.Execute(&out, r.page()); err != nil {
		return fmt.Errorf("bench: report page: %w", err)
	}
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("bench: report page: %w", err)
	}
	return nil
}

// A htmlPage is what the template shows.
type htmlPage struct {
	*Report
	Style   template.CSS
	Method  string
	Remarks []string
	Charts  []*chart
	Tables  []htmlTable
}

type htmlTable struct {
	Heading []string
	Rows    []htmlRow
}

type htmlRow struct {
	Class Role
	Cells []string
}

func (r *Report) page() *htmlPage {
	style, _ := htmlFiles.ReadFile("report_html/style.css")
	p := &htmlPage{
		Report: r, Style: template.CSS(look.Style + string(style)),
		Method: strings.Join(r.method(), " "), Remarks: append(r.remarks(), r.failures()...), Charts: r.charts(),
	}
	for _, t := range tables {
		rows := r.of(t.has)
		if len(rows) == 0 {
			continue
		}
		table := htmlTable{Heading: t.columns()}
		for i := range rows {
			table.Rows = append(table.Rows, htmlRow{rows[i].Role, t.line(rows, &rows[i])})
		}
		p.Tables = append(p.Tables, table)
	}
	return p
}

// pixels writes a length of a chart.
func pixels(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }
