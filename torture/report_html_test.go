package torture

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// exampleExhibit has one event of each kind.
func exampleExhibit() *Exhibit {
	return &Exhibit{Trial: 2, Verdict: SilentLoss, Events: Transcript{
		{Side: "client", Kind: EventStep, Text: "handshake"},
		{Side: "client", Kind: EventRecord, Inner: "client_hello", Bytes: 1489, Flight: 1},
		{Side: "server", Kind: EventRecord, Inner: "server_hello", Bytes: 127, Flight: 1},
		{Side: "server", Kind: EventRecord, Inner: "new_session_ticket", Bytes: 144, Flight: 1, Unread: true},
		{Side: "server", Kind: EventHold, Inner: "key_update", Bytes: 27, Text: "1 record kept back"},
		{Side: "server", Kind: EventRelease, Inner: "key_update", Bytes: 27, Text: "1 record let go"},
		{At: 20 * time.Millisecond, Side: "client", Kind: EventRecord, Inner: "application_data", Bytes: 938_000, Count: 57},
		{Side: "client", Kind: EventWait, Text: "window full", Count: 50},
		{Kind: EventOmitted, Count: 12, Text: "12 more events"},
		{Side: "client", Kind: EventRecord, Inner: "opaque", Bytes: 99, Flight: 60},
		{Side: "client", Kind: EventRecord, Inner: "alert close_notify", Bytes: 24, Flight: 61, Unread: true},
		{Side: "client", Kind: EventRST, Bytes: 144, Text: "closes with 144 bytes unread"},
		{Side: "server", Kind: EventFIN, Text: "closes"},
		{Side: "server", Kind: EventClose, Text: "closes with 9 bytes unread; the peer no longer looks"},
		{Side: "client", Kind: EventLost, Bytes: 16384, Text: "the server read 1032192 of 1048576 bytes"},
		{Side: "client", Kind: EventTold, Text: "success, 1048576 bytes written"},
		{Side: "server", Kind: EventTold, Text: `"read: connection reset by peer"`},
	}}
}

func htmlOf(t *testing.T, r *Report) string {
	t.Helper()
	var page strings.Builder
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

func TestPageNeedsNothingElse(t *testing.T) {
	report := exampleReport()
	report.Rows[0].Exhibit = exampleExhibit()
	page := htmlOf(t, report)
	for _, foreign := range []string{`https?:`, `(?i)\bsrc\s*=`, `url\(`, `@import`, `<link`, `href="[^#]`, `(?i)\son[a-z]+\s*=`} {
		if at := regexp.MustCompile(foreign).FindString(page); at != "" {
			t.Errorf("the page has %q", at)
		}
	}
}

func TestEveryCellCanBeReached(t *testing.T) {
	report := exampleReport()
	report.Rows = append(report.Rows, report.Rows[0]) // the same names once more
	for i := range report.Rows {
		report.Rows[i].Exhibit = exampleExhibit()
	}
	page := htmlOf(t, report)
	if !strings.Contains(page, `<a href="#upload.tcp.bad">upload over tcp, bad</a></li>`) || strings.Contains(page, `<a href="#upload.tcp.stdlib">upload over tcp`) {
		t.Error("what failed under test is not listed, or the control is")
	}
	cells := regexp.MustCompile(`<a class="cell [^"]*" href="#([^"]+)"`).FindAllStringSubmatch(page, -1)
	seen := make(map[string]bool)
	for _, cell := range cells {
		id := cell[1]
		if n := strings.Count(page, `<article class="exhibit" id="`+id+`"`); n != 1 || seen[id] {
			t.Errorf("%d exhibits for the cell %q", n, id)
		}
		seen[id] = true
	}
	if n := strings.Count(page, `<article class="exhibit"`); n != len(report.Rows) || len(cells) != len(report.Rows) {
		t.Errorf("%d cells and %d exhibits for %d rows", len(cells), n, len(report.Rows))
	}
}

var diagram = regexp.MustCompile(`(?s)<svg.*?</svg>`)

func TestDiagramIsWellFormedAndTellsEveryEvent(t *testing.T) {
	report := exampleReport()
	exhibit := exampleExhibit()
	exhibit.Events = append(exhibit.Events, Event{Side: "client", Kind: EventWait, Text: "<\x00\x1b[1m&\xff'\"\ufffe" + strings.Repeat("long ", 30)})
	report.Rows[0].Exhibit = exhibit
	svg := diagram.FindString(htmlOf(t, report))
	decoder := xml.NewDecoder(strings.NewReader(svg))
	titles := 0
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "g" {
			titles++
		}
	}
	if want := len(exhibit.Events) - 2 + 1; titles != want { // both told stand beside; the lifelines are one more
		t.Errorf("%d groups for %d events", titles, len(exhibit.Events))
	}
	for _, class := range []string{"record handshake", "record out-of-turn unread", "record data many", "record sealed", "record alert unread",
		"hold", "release", "wait", "rst", "fin", "close", "lost", "step", "omitted"} {
		if !strings.Contains(svg, `<g class="`+class+`">`) {
			t.Errorf("no %s in\n%s", class, svg)
		}
	}
	for _, label := range []string{"application_data × 57 · 938 KB", "new_session_ticket · 144 B · never read", "held back: key_update · 27 B",
		"RST · closes with 144 bytes unread", "× lost: 16 KB", "… 12 more events …", "window full × 50"} {
		if !strings.Contains(svg, label) {
			t.Errorf("no %q in\n%s", label, svg)
		}
	}
}

func TestHostileTextStaysText(t *testing.T) {
	const hostile = `</script></title></svg><script>alert(1)</script><img src=x onerror=alert(1)>"'{{.}}` + "`"
	exhibit := exampleExhibit()
	for i := range exhibit.Events {
		exhibit.Events[i].Text, exhibit.Events[i].Inner = hostile, hostile
	}
	page := htmlOf(t, &Report{Status: hostile, Rows: []Row{{
		Scenario: hostile, Network: hostile, Stack: hostile, Role: hostile, Threat: hostile, Verdict: Deadlock, Trials: 1, Exhibit: exhibit,
		FirstFailure: &Failure{Verdict: Verdict{Class: Deadlock, Detail: hostile, Stacks: hostile}},
	}}})
	for _, tag := range []string{"<img", "alert(1)<", "onerror=alert(1)>"} {
		if strings.Contains(page, tag) {
			t.Errorf("the page has %s", tag)
		}
	}
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
}

// A cell that the fragment names is open when the page is loaded: so it can be linked to.
func TestBrowserOpensACell(t *testing.T) {
	report := exampleReport()
	report.Rows[0].Exhibit = exampleExhibit()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(htmlOf(t, report)), 0o600); err != nil {
		t.Fatal(err)
	}
	dom := dumpDOM(t, file, "#upload.tcp.stdlib")
	for _, want := range []string{
		`href="#upload.tcp.stdlib" data-verdict="silent-loss" aria-current="true"`,
		`<output id="shown" aria-live="polite">6 of 6 cells</output>`,
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("no %s in the page as the browser has it:\n%s", want, dom)
		}
	}
	if n := strings.Count(dom, `aria-current`); n != strings.Count(htmlOf(t, report), `aria-current`)+1 {
		t.Errorf("%d cells are open", n)
	}
}

func TestFiltersLeaveWhatTheyName(t *testing.T) {
	tests := []struct{ click, want string }{
		{`[data-filter=verdict][data-value=deadlock]`, "1 of 6 cells, 1 lines, 3 columns"},
		{`[data-filter=verdict][data-value=ok], [data-filter=stack][data-value="1"]`, "2 of 6 cells, 2 lines, 1 columns"},
		{`[data-filter=network][data-value="0"]`, "3 of 6 cells, 1 lines, 3 columns"},
		{`[data-filter]`, "6 of 6 cells, 2 lines, 3 columns"},
	}
	page := withoutPolicy.ReplaceAllString(htmlOf(t, exampleReport()), "") + `<script>
		const click = (selector) => { for (const b of document.querySelectorAll(selector)) b.click(); };
		const seen = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.offsetParent).length;
		const look = () => shown.textContent + ", " + seen("tr[data-network]") + " lines, " + seen("th[data-stack]") + " columns";
		document.title = "";`
	var want []string
	for _, test := range tests {
		page += "click(`" + test.click + "`); document.title += look() + '|'; click('#all');\n"
		want = append(want, test.want+"|")
	}
	page += "document.title += look()</script>"
	want = append(want, "6 of 6 cells, 2 lines, 3 columns")

	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	dom := dumpDOM(t, file, "")
	if diff := cmp.Diff("<title>"+strings.Join(want, "")+"</title>", pageTitle.FindString(dom)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var (
	withoutPolicy = regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`) // so that a test may add a script
	pageTitle     = regexp.MustCompile(`<title>.*?</title>`)
)

// A wide matrix scrolls inside of its frame; the page itself does not.
func TestPageFitsDesktopAndTelephone(t *testing.T) {
	report := exampleReport()
	for i := range 12 {
		row := report.Rows[0]
		row.Stack = strings.Repeat("stack", i)
		row.Exhibit = exampleExhibit()
		row.FirstFailure = &Failure{Verdict: Verdict{Detail: strings.Repeat("detail", 50), Stacks: strings.Repeat("stacks", 50)}}
		report.Rows = append(report.Rows, row)
	}
	page := htmlOf(t, report)
	page = withoutPolicy.ReplaceAllString(page, "")
	page += `<script>
	for (const d of document.querySelectorAll("details")) d.open = true;
	parent.postMessage("inner " + innerWidth + " scroll " + document.documentElement.scrollWidth, "*");
	</script>`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "report.html"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, width := range []string{"1280", "390"} {
		// A frame, because the browser has a least width for its window.
		frame := `<script>onmessage = e => document.title = e.data</script>
			<iframe src="report.html#upload.tcp.stackstack" style="border: 0; height: 800px; width: ` + width + `px"></iframe>`
		file := filepath.Join(dir, "frame.html")
		if err := os.WriteFile(file, []byte(frame), 0o600); err != nil {
			t.Fatal(err)
		}
		dom := dumpDOM(t, file, "")
		if want := "<title>inner " + width + " scroll " + width + "</title>"; !strings.Contains(dom, want) {
			t.Errorf("want %s, got %s", want, pageTitle.FindString(dom))
		}
	}
}

// dumpDOM loads a page in Chromium and returns it as its script has left it.
func dumpDOM(t *testing.T, file, fragment string) string {
	t.Helper()
	var browser string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		tlstest.Missing(t, "no Chromium here")
	}
	cmd := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=1000", "--dump-dom", "file://"+file+fragment)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.Join(err, errors.New(string(exit.Stderr)))
		}
		t.Fatal(err)
	}
	return string(out)
}
