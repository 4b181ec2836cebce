package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get/gettest"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

var getCA = tlstest.NewCA()

// getCAFile writes the certificate that clients are to trust.
func getCAFile(t testing.TB) string {
	t.Helper()
	file, _, _, err := getCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func serveEndings(t testing.TB) *gettest.Endings {
	t.Helper()
	s, err := gettest.ServeEndings(getCA.ServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// getProgram runs the command in this process.
func getProgram(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), append([]string{"get"}, args...), &out, &err)
	return status, out.String(), err.String()
}

// wantFiles wants these names in a folder.
func wantFiles(t testing.TB, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files, -want +got:\n%s", diff)
	}
}

func wantContent(t testing.TB, name, want string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s has %d bytes, which are not the %d of the server", name, len(got), len(want))
	}
}

// Every ending in every framing: a whole file under its name, or an error of its own and nothing there.
func TestGetToldByEveryEnding(t *testing.T) {
	s := serveEndings(t)
	ca := getCAFile(t)
	half := func(framing string) string {
		if framing == gettest.Length {
			return "after 5000 of 10000 bytes"
		}
		return "after 5000 bytes of a file of unknown length"
	}
	type outcome struct {
		status  int
		message string
	}
	const (
		cut   = "the stream was cut %s: the connection ended without close_notify"
		early = "the server stopped too early, %s: it closed in good order, by close_notify"
	)
	want := map[string]outcome{
		gettest.Whole:       {},
		gettest.WholeFIN:    {},
		gettest.FIN:         {5, cut},
		gettest.CloseNotify: {5, early},
		gettest.Alert:       {6, "the server gave up %s: alert internal_error (80)"},
		gettest.WithReason:  {6, `the server gave up %s: alert internal_error (80), "the disk of store 7 is full"`},
		gettest.Reset:       {7, "the connection was reset %s"},
		gettest.Silent:      {8, "the server went silent %s"},
	}
	for _, framing := range []string{gettest.Length, gettest.Chunked, gettest.EOF} {
		for ending, want := range want {
			t.Run(framing+"/"+ending, func(t *testing.T) {
				t.Parallel()
				middle := half(framing)
				size := gettest.BodySize
				switch {
				case framing == gettest.EOF && ending == gettest.CloseNotify:
					// The server says in so many words that this is all.
					want, size = outcome{}, gettest.BodySent
				case framing == gettest.EOF && ending == gettest.WholeFIN:
					// Nobody says that it is.
					want, middle = outcome{5, cut}, "after 10000 bytes of a file of unknown length"
				}
				folder := t.TempDir()
				name := filepath.Join(folder, "file")
				args := []string{"--ca", ca, "--output", name, s.URL(framing, ending)}
				if ending == gettest.Silent {
					args = append([]string{"--timeout", "2s"}, args...)
				}
				status, stdout, stderr := getProgram(t, args...)
				if status != want.status {
					t.Errorf("exit status %d, want %d\n%s", status, want.status, stderr)
				}
				if want.status == 0 {
					wantFiles(t, folder, "file")
					wantContent(t, name, gettest.Body[:size])
					if !strings.Contains(stdout, fmt.Sprintf("%d bytes, whole", size)) || stderr != "" {
						t.Errorf("stdout %q, stderr %q", stdout, stderr)
					}
					return
				}
				wantFiles(t, folder)
				message := fmt.Sprintf("tlsstream: error: "+want.message+"\n", middle)
				if ending == gettest.Reset {
					// How much of the half outruns the reset is TCP's.
					message = "tlsstream: error: the connection was reset "
				}
				if !strings.HasPrefix(stderr, message) || stdout != "" {
					t.Errorf("stdout %q, stderr %q, want %q", stdout, stderr, message)
				}
				if !strings.Contains(stderr, "\ntlsstream: hint: ") {
					t.Errorf("no hint: %q", stderr)
				}
			})
		}
	}
}

// The control: net/http over crypto/tls takes a connection that is gone for the end of the file.
func TestGetIsStricterThanNetHTTP(t *testing.T) {
	s := serveEndings(t)
	transport := &http.Transport{TLSClientConfig: getCA.ClientConfig()}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(s.URL(gettest.EOF, gettest.FIN))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); len(body) != gettest.BodySent || err != nil {
		t.Errorf("%d bytes, %v, want half of them and no error", len(body), err)
	}
}

// And so does curl.
func TestGetIsStricterThanCurl(t *testing.T) {
	curl := tlstest.Program(t, "curl")
	s := serveEndings(t)
	name := filepath.Join(t.TempDir(), "file")
	cmd := exec.Command(curl, "--silent", "--show-error", "--cacert", getCAFile(t), "--max-time", "20", "--output", name,
		s.URL(gettest.EOF, gettest.FIN))
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("curl: %v, want success\n%s", err, output)
	}
	wantContent(t, name, gettest.Body[:gettest.BodySent])
}

// Programs read the document. It must have the fields that --help describes, and no others.
func TestGetDocumentIsAsDocumented(t *testing.T) {
	s := serveEndings(t)
	ca := getCAFile(t)
	folder := t.TempDir()
	name := filepath.Join(folder, "file")
	type alert struct {
		Number int    `json:"number"`
		Name   string `json:"name"`
		Reason string `json:"reason"`
	}
	type document struct {
		Version    int             `json:"version"`
		ExitStatus int             `json:"exit_status"`
		Status     string          `json:"status"`
		URL        string          `json:"url"`
		File       string          `json:"file"`
		Bytes      int64           `json:"bytes"`
		Total      *int64          `json:"total_bytes"`
		Resumed    int64           `json:"resumed_at"`
		Ending     string          `json:"ending"`
		Partial    string          `json:"partial"`
		Error      string          `json:"error"`
		Hint       string          `json:"hint"`
		Alert      *alert          `json:"alert"`
		Signature  json.RawMessage `json:"signature"`
	}
	total := int64(gettest.BodySize)
	null := json.RawMessage("null")
	for _, want := range []document{
		{ExitStatus: 0, Status: "complete", URL: s.URL(gettest.Chunked, gettest.Whole), Bytes: total, Total: &total, Ending: "last-chunk"},
		{ExitStatus: 6, Status: "alert", URL: s.URL(gettest.Length, gettest.WithReason), Bytes: gettest.BodySent, Total: &total,
			Error: `the server gave up after 5000 of 10000 bytes: alert internal_error (80), "the disk of store 7 is full"`,
			Hint:  "nothing was kept; the same command starts again", Alert: &alert{80, "internal_error", gettest.Reason}},
		{ExitStatus: 5, Status: "truncated", URL: s.URL(gettest.EOF, gettest.FIN), Bytes: gettest.BodySent,
			Error: "the stream was cut after 5000 bytes of a file of unknown length: the connection ended without close_notify",
			Hint:  "nothing was kept; the same command starts again"},
	} {
		want.Version, want.File, want.Signature = getFormat, name, null
		status, stdout, _ := getProgram(t, "--json", "--ca", ca, "--output", name, want.URL)
		if status != want.ExitStatus {
			t.Errorf("%s: exit status %d", want.URL, status)
		}
		var got document
		decoder := json.NewDecoder(strings.NewReader(stdout))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if decoder.More() {
			t.Error("something follows the document")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestGetHasAnExitStatusForEachKind(t *testing.T) {
	taken := make(map[int]get.Kind)
	for _, e := range getExits {
		if other, ok := taken[e.status]; ok {
			t.Errorf("%v has exit status %d, as %v has", e.kind, e.status, other)
		}
		taken[e.status] = e.kind
		if got := getExitOf(e.kind); got != e.status {
			t.Errorf("%v: %d, want %d", e.kind, got, e.status)
		}
	}
}
