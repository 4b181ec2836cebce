package get_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get"
	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/get/gettest"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// wantFailure wants an error of a kind with these words in it, and no file.
func wantFailure(t *testing.T, config get.Config, kind get.Kind, words string) {
	t.Helper()
	result, err := get.Run(t.Context(), config)
	var failure *get.Error
	if !errors.As(err, &failure) || failure.Kind != kind || result.Kind != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("%v: %v, want %v: %s", result.Kind, err, kind, words)
	}
	if _, err := os.Stat(config.Output); err == nil {
		t.Error("there is a file")
	}
}

// raw serves bytes that are no HTTP, or no TLS.
func raw(t *testing.T, config *tls.Config, serve func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if config != nil {
		l = tls.NewListener(l, config)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return "https://" + address + "/file"
}

// untilGone reads until the client goes.
func untilGone(c net.Conn) { io.Copy(io.Discard, c) }

func TestFaultsOfServers(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	answer := func(text string) string {
		return raw(t, testCA.ServerConfig(), func(c net.Conn) {
			buf := make([]byte, 4096)
			c.Read(buf)
			io.WriteString(c, text)
			c.(*tls.Conn).CloseWrite()
			untilGone(c)
		})
	}
	expired := testCA.ServerConfig()
	expired.Certificates = []tls.Certificate{testCA.Server("elsewhere.example")}
	for name, test := range map[string]struct {
		address string
		kind    get.Kind
		words   string
	}{
		"closed port":      {"https://" + closed.Addr().String() + "/file", get.Unreachable, "cannot connect: dial tcp"},
		"plain text":       {raw(t, nil, func(c net.Conn) { io.WriteString(c, "220 welcome\r\n"); untilGone(c) }), get.Handshake, "does not speak TLS"},
		"hangs":            {raw(t, nil, untilGone), get.TimedOut, "the deadline passed while waiting for the server's ServerHello"},
		"another name":     {raw(t, expired, func(c net.Conn) { c.(*tls.Conn).Handshake() }), get.Handshake, "another name"},
		"untrusted":        {raw(t, tlstest.NewCA().ServerConfig(), func(c net.Conn) { c.(*tls.Conn).Handshake() }), get.Handshake, "signed by an authority"},
		"silent HTTP":      {raw(t, testCA.ServerConfig(), untilGone), get.TimedOut, "the server went silent before the response"},
		"no HTTP":          {answer("220 welcome\r\n"), get.Protocol, "malformed HTTP"},
		"nothing":          {answer(""), get.Truncated, "before the response"},
		"part of a header": {answer("HTTP/1.1 200 OK\r\nContent-Le"), get.Truncated, "before the response"},
		"endless header":   {answer("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 60_000)), get.Protocol, "exceeded"},
		"two lengths":      {answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), get.Protocol, "multiple Content-Length"},
		"bad chunk":        {answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), get.Protocol, "chunk"},
		"cut after chunks": {answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"), get.Truncated, "stopped too early"},
		"not found":        {answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), get.Status, `"404 Not Found"`},
		"no content":       {answer("HTTP/1.1 204 No Content\r\n\r\n"), get.Status, `"204 No Content"`},
		"unasked 304":      {answer("HTTP/1.1 304 Not Modified\r\n\r\n"), get.Status, "304"},
		"unasked part":     {answer("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\na"), get.Protocol, "asked for the whole"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := configFor(t, test.address, t.TempDir())
			if test.kind == get.TimedOut {
				config.Timeout = time.Second
			}
			wantFailure(t, config, test.kind, test.words)
			if left, _ := filepath.Glob(config.Output + "*"); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "changed on the way") }))
	t.Cleanup(plain.Close)
	mux := http.NewServeMux()
	mux.Handle("/a/file", http.RedirectHandler("/b/file", http.StatusFound))
	mux.HandleFunc("/b/file", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") })
	mux.Handle("/down/file", http.RedirectHandler(plain.URL, http.StatusMovedPermanently))
	mux.Handle("/file-scheme/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.Handle("/circle/file", http.RedirectHandler("/circle/file", http.StatusFound))
	server := serve(t, mux)

	config := configFor(t, server+"/a/file", t.TempDir())
	result, err := get.Run(t.Context(), config)
	if err != nil || result.URL != server+"/b/file" {
		t.Errorf("%v, %v", result, err)
	}
	wantFailure(t, configFor(t, server+"/down/file", t.TempDir()), get.Redirect, "which has no TLS")
	wantFailure(t, configFor(t, server+"/file-scheme/file", t.TempDir()), get.Redirect, "which has no TLS")
	wantFailure(t, configFor(t, server+"/circle/file", t.TempDir()), get.Redirect, "more than 10 redirects")
}

// Passwords are not for messages.
func TestPasswordIsNotTold(t *testing.T) {
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password == "sesame" {
			io.WriteString(w, "content")
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	with := func(password string) get.Config {
		return configFor(t, strings.Replace(server, "//", "//alice:"+password+"@", 1)+"/file", t.TempDir())
	}
	if result, err := get.Run(t.Context(), with("sesame")); err != nil || strings.Contains(result.URL, "sesame") {
		t.Errorf("%v, %v", result, err)
	}
	if _, err := get.Run(t.Context(), with("secret")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	endless := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/told/file" {
			w.Header().Set("Content-Length", "2000000")
		}
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}))
	for _, path := range []string{"/told/file", "/untold/file"} {
		config := configFor(t, endless+path, t.TempDir())
		config.MaxBytes = 1_000_000
		wantFailure(t, config, get.Protocol, "more than the 1000000 bytes of --max-size")
	}
	drips := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for ticker := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-r.Context().Done():
				ticker.Stop()
				return
			case <-ticker.C:
				io.WriteString(w, "x")
				w.(http.Flusher).Flush()
			}
		}
	}))
	config := configFor(t, drips+"/file", t.TempDir())
	config.Timeout, config.MaxTime = 10*time.Second, 300*time.Millisecond
	wantFailure(t, config, get.TimedOut, "--max-time")
}

// The timeout is for each wait, not for their sum.
func TestTimeoutIsForEachWait(t *testing.T) {
	const timeout = time.Second
	slow := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 6 {
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(timeout / 4) // a slow server
		}
	}))
	config := configFor(t, slow+"/file", t.TempDir())
	config.Timeout = timeout
	if _, err := get.Run(t.Context(), config); err != nil {
		t.Error(err)
	}
}

// An interrupt keeps what has come.
func TestInterruptKeepsWhatHasCome(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &ranges{tag: old, content: oldContent, override: func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", fmt.Sprint(len(oldContent)))
		w.Write(oldContent[:half])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}}
	config := configFor(t, serve(t, s)+"/file", t.TempDir())
	config.Progress = func(done, _ int64) {
		if done == int64(half) {
			cancel()
		}
	}
	result, err := get.Run(ctx, config)
	if err == nil || result.Kind != get.Interrupted || result.Partial != config.Output+".partial" {
		t.Fatalf("%v, %v", result, err)
	}
	s.mu.Lock()
	s.override = nil
	s.mu.Unlock()
	wantWhole(t, config, oldContent, half)
}

// Files that cannot be written are this side's fault.
func TestLocalFaults(t *testing.T) {
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") }))
	for name, output := range map[string]string{"no folder": "no/folder/file", "a folder": "."} {
		t.Run(name, func(t *testing.T) {
			config := configFor(t, server+"/file", t.TempDir())
			config.Output = filepath.Join(filepath.Dir(config.Output), output)
			if result, err := get.Run(t.Context(), config); err == nil || result.Kind != get.Local {
				t.Errorf("%v, %v", result.Kind, err)
			}
		})
	}
}

// What is in the way of the signature stays.
func TestFolderInTheWayOfTheSignature(t *testing.T) {
	folder := t.TempDir()
	inTheWay := filepath.Join(folder, "repomd.xml.asc")
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, pairConfig(t, serve(t, &gettest.Repo{Signer: signer}), folder), get.Local, "is not a file")
	if info, err := os.Stat(inTheWay); err != nil || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
}

func TestNameOfURL(t *testing.T) {
	for address, want := range map[string]string{
		"https://h/file": "file", "https://h/a/b.iso?x=/y": "b.iso", "https://h/a%20b": "a b", "https://h/a%2Fb": "b",
		"https://h": "", "https://h/": "", "https://h/a/..": "", "https://h/.": "",
	} {
		got, err := get.NameOf(mustURL(t, address))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", address, got, err, want)
		}
	}
}
