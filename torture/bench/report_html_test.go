package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
)

func htmlOf(t *testing.T, r *Report) string {
	t.Helper()
	var page strings.Builder
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

func TestPageNeedsNothingElse(t *testing.T) {
	page := htmlOf(t, example())
	for _, foreign := range []string{`https?:`, `(?i)\bsrc\s*=`, `url\(`, `@import`, `<link`, `href=`, `<script`, `(?i)\son[a-z]+\s*=`} {
		if at := regexp.MustCompile(foreign).FindString(page); at != "" {
			t.Errorf("the page has %q", at)
		}
	}
}

func TestChartsAreWellFormed(t *testing.T) {
	charts := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(htmlOf(t, example()), -1)
	if len(charts) != 3 {
		t.Errorf("%d charts, want those of bulk, handshake and idle", len(charts))
	}
	for _, chart := range charts {
		for decoder := xml.NewDecoder(strings.NewReader(chart)); ; {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v\n%s", err, chart)
			}
		}
		if bad := regexp.MustCompile(`NaN|Inf|="-`).FindString(chart); bad != "" {
			t.Errorf("a length is %q:\n%s", bad, chart)
		}
	}
}

func TestPageShowsEachFigure(t *testing.T) {
	page := htmlOf(t, example())
	for _, want := range []string{
		"1.25 (1.20–1.31)", "ours, client only", "stdlib (control)", "<td>412 (&#43;12)</td>", "24.0 KiB (×0.25)",
		"theirs failed after 2 rounds: client: broken", "Note: idle-1MiB has 7 connections in place of 9.", "3 cores of abacus",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

// A stack that was interrupted before its first round, or that is a hundred times faster, breaks no scale.
func TestPageOfOddReports(t *testing.T) {
	report := example()
	report.Rows[2].Ratio = Spread{100, 0.001, 500}
	report.Rows[3].Error = ""
	report.Rows[3].Rounds = 0
	report.Rows[7].Memory = &Memory{-5, 0, -5, 0}
	for _, r := range []*Report{report, {}} {
		if bad := regexp.MustCompile(`NaN|Inf|="-`).FindString(htmlOf(t, r)); bad != "" {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestPageEscapes(t *testing.T) {
	report := example()
	report.Rows[2].Stack = `<b>&"`
	if page := htmlOf(t, report); strings.Contains(page, "<b>") {
		t.Error("a stack's name is markup")
	}
}
