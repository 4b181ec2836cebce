package get_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
)

// A ranges serves one file, with ranges as net/http does, and cuts the first responses.
type ranges struct {
	mu       sync.Mutex
	content  []byte
	tag      string
	modified time.Time
	cuts     int // how many responses end in their middle
	requests []string
	// override answers instead, if it returns true.
	override func(w http.ResponseWriter, r *http.Request) bool
}

func (s *ranges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	if s.tag != "" {
		w.Header().Set("ETag", s.tag)
	}
	if s.override != nil && s.override(w, r) {
		return
	}
	if s.cuts > 0 {
		s.cuts--
		w = &cutWriter{ResponseWriter: w, left: len(s.content) / 2}
	}
	http.ServeContent(w, r, "file", s.modified, bytes.NewReader(s.content))
}

// A cutWriter ends the connection in the middle of the body.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	n, _ := w.ResponseWriter.Write(p[:min(w.left, len(p))])
	if w.left -= n; w.left == 0 {
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func contentOf(version string) []byte {
	return bytes.Repeat([]byte(version+" of a file that is long enough\n"), 1000)
}

const old = "\"old\""

var (
	oldContent = contentOf("first version")
	newContent = contentOf("other version")
	half       = len(oldContent) / 2
	longAgo    = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
)

// cutOnce leaves half of the old content behind.
func cutOnce(t *testing.T, s *ranges) (config get.Config) {
	t.Helper()
	s.content, s.cuts = oldContent, 1
	config = configFor(t, serve(t, s)+"/file", t.TempDir())
	result, err := get.Run(t.Context(), config)
	if err == nil || result.Kind != get.Truncated || result.Bytes != int64(half) {
		t.Fatalf("%v, %d bytes, %v", result.Kind, result.Bytes, err)
	}
	if _, err := os.Stat(config.Output); err == nil {
		t.Fatal("half of the file has its name")
	}
	return config
}

func wantWhole(t *testing.T, config get.Config, content []byte, resumed int) *get.Result {
	t.Helper()
	result, err := get.Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(config.Output)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Errorf("%d bytes, which are not the %d of the server", len(got), len(content))
	}
	if result.Resumed != int64(resumed) {
		t.Errorf("resumed at %d, want %d", result.Resumed, resumed)
	}
	if left, _ := filepath.Glob(config.Output + ".*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
	return result
}

// What the first run has fetched counts only if a strong validator says that it is still the same.
func TestResumeNeedsAStrongValidator(t *testing.T) {
	dated := longAgo.Format(http.TimeFormat)
	for name, test := range map[string]struct {
		s       *ranges
		request string // the second
		resumed int
	}{
		"strong ETag":          {&ranges{tag: old}, fmt.Sprintf("bytes=%d- %s", half, old), half},
		"strong ETag and date": {&ranges{tag: old, modified: longAgo}, fmt.Sprintf("bytes=%d- %s", half, old), half},
		"date long ago":        {&ranges{modified: longAgo}, fmt.Sprintf("bytes=%d- %s", half, dated), half},
		"weak ETag":            {&ranges{tag: "W/" + old}, "", 0},
		"weak ETag and date":   {&ranges{tag: "W/" + old, modified: longAgo}, "", 0},
		"date just now":        {&ranges{modified: time.Now()}, "", 0},
		"nothing":              {&ranges{}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			config := cutOnce(t, test.s)
			wantWhole(t, config, oldContent, test.resumed)
			if diff := cmp.Diff([]string{"", test.request}, test.s.requests); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A file that has changed starts again, whatever the server makes of Range and If-Range.
func TestResumeNeverMixesVersions(t *testing.T) {
	part := func(first, last, total int, tag string, body []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") == "" {
				return false
			}
			w.Header().Set("ETag", tag)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, total))
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(body)
			return true
		}
	}
	end := len(newContent) - 1
	for name, override := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"a server that knows If-Range": nil,
		"one that ignores Range": func(w http.ResponseWriter, r *http.Request) bool {
			w.Write(newContent)
			return true
		},
		"one that ignores If-Range": part(half, end, end+1, `"new"`, newContent[half:]),
		"another length":            part(half, end+5, end+6, old, make([]byte, end+6-half)),
		"another offset":            part(half-1, end, end+1, old, newContent[half-1:]),
		"no range":                  part(end, half, end+1, old, newContent[half:]),
		"a length that differs":     part(half, end, end+1, old, newContent[half+1:]),
		"no longer so long": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
			return false
		},
		"several ranges": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Type", "multipart/byteranges; boundary=x")
				w.WriteHeader(http.StatusPartialContent)
				return true
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &ranges{tag: old}
			config := cutOnce(t, s)
			s.content, s.tag, s.override = newContent, `"new"`, override
			wantWhole(t, config, newContent, 0)
		})
	}
}

// A server may send less than was asked for.
func TestResumeGoesOnAfterAShortRange(t *testing.T) {
	s := &ranges{tag: old}
	config := cutOnce(t, s)
	total := len(oldContent)
	s.override = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", half, half+99, total))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(oldContent[half : half+100])
		return true
	}
	if result, err := get.Run(t.Context(), config); err == nil || result.Kind != get.Truncated || result.Bytes != int64(half+100) {
		t.Fatalf("%v, %d bytes, %v", result.Kind, result.Bytes, err)
	}
	s.override = nil
	wantWhole(t, config, oldContent, half+100)
}

// A run that died before the file had its name asks for its last byte only.
func TestResumeOfAllBytes(t *testing.T) {
	s := &ranges{tag: old}
	config := cutOnce(t, s)
	if err := os.WriteFile(config.Output+".partial", oldContent, 0o600); err != nil {
		t.Fatal(err)
	}
	rewriteState(t, config, fmt.Sprintf(`"synced":%d`, half), fmt.Sprintf(`"synced":%d`, len(oldContent)))
	wantWhole(t, config, oldContent, len(oldContent)-1)
}

func rewriteState(t *testing.T, config get.Config, from, to string) {
	t.Helper()
	name := config.Output + ".partial.json"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		t.Fatalf("no %s in %s", from, text)
	}
	if err := os.WriteFile(name, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Bytes without a description that fits are not used.
func TestResumeOfDoubtfulBytes(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, config get.Config){
		"no description": func(t *testing.T, c get.Config) { os.Remove(c.Output + ".partial.json") },
		"torn":           func(t *testing.T, c get.Config) { os.Truncate(c.Output+".partial.json", 20) },
		"of another URL": func(t *testing.T, c get.Config) { rewriteState(t, c, `"source":"`, `"source":"0`) },
		"of more bytes":  func(t *testing.T, c get.Config) { os.Truncate(c.Output+".partial", int64(half-1)) },
		"negative":       func(t *testing.T, c get.Config) { rewriteState(t, c, `"synced":`, `"synced":-`) },
	} {
		t.Run(name, func(t *testing.T) {
			config := cutOnce(t, &ranges{tag: old})
			spoil(t, config)
			wantWhole(t, config, oldContent, 0)
		})
	}
	// What was not synced may be anything after a crash.
	config := cutOnce(t, &ranges{tag: old})
	file, err := os.OpenFile(config.Output+".partial", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	file.Write(make([]byte, 100))
	file.Close()
	wantWhole(t, config, oldContent, half)
}

// A failure before anything has come costs nothing of what there is.
func TestResumeAfterAnotherFailure(t *testing.T) {
	s := &ranges{tag: old}
	config := cutOnce(t, s)
	s.override = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	if result, err := get.Run(t.Context(), config); err == nil || result.Kind != get.Status || result.Partial == "" {
		t.Fatalf("%v, %v", result, err)
	}
	s.override = nil
	wantWhole(t, config, oldContent, half)
}

// Two downloads into one name would mix their bytes.
func TestTwoDownloadsOfOneName(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := &ranges{tag: old, content: oldContent, override: func(w http.ResponseWriter, _ *http.Request) bool {
		close(begun)
		<-goOn
		return false
	}}
	config := configFor(t, serve(t, s)+"/file", t.TempDir())
	ended := make(chan error)
	go func() {
		_, err := get.Run(context.Background(), config)
		ended <- err
	}()
	<-begun
	result, err := get.Run(t.Context(), config)
	if err == nil || result.Kind != get.Local || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v, %v", result.Kind, err)
	}
	close(goOn)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
