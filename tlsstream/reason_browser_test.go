package tlsstream_test

import (
	"bufio"
	"crypto"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// browserPage has a browser request paths, on a connection each and one after the other, and shows what it was told.
// Requests that do not return before they are answered make that part of loading the page.
const browserPage = `<!doctype html>
<link rel="icon" href="data:,">
<pre id="ends">
</pre>
<script>
for (const path of "%s".split(" ")) {
	let end
	try {
		const request = new XMLHttpRequest()
		request.open("GET", path, false)
		request.send()
		end = "complete " + request.responseText.length
	} catch (e) {
		end = e.name
	}
	document.getElementById("ends").append(path + ": " + end + "\n")
}
</script>
`

// browse has Chromium load a page that requests paths. It returns a line for each: the path, and its end. log is which
// connections were resumptions, beginning with the page's.
func browse(t *testing.T, paths []string) (ends []string, log *resumptionLog) {
	t.Helper()
	program := tlstest.Program(t, "chromium")
	config := abortCA.ServerConfig()
	pin, err := tlsstream.PinOf(config.Certificates[0].PrivateKey.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	log = &resumptionLog{}
	s := serveClients(t, listenClients(t, tlsstream.Options{Reasons: true}, config, true), func(c net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return // a connection that the browser has made in advance
		}
		log.add(c.(*tlsstream.Conn).ConnectionState().DidResume)
		if request.URL.Path == "/" {
			io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n"+fmt.Sprintf(browserPage, strings.Join(paths, " ")))
			return
		}
		answerAs(c, parseClientPath(request.URL.Path))
	})
	all := runClient(t, "", program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+t.TempDir(),
		"--ignore-certificate-errors-spki-list="+strings.TrimPrefix(pin.String(), "sha256/"), // it takes no CA's file
		"--dump-dom", "https://"+s.addr()+"/")
	_, shown, found := strings.Cut(all.Says, "<pre id=\"ends\">")
	shown, _, ended := strings.Cut(shown, "</pre>")
	if all.Code != 0 || !found || !ended {
		t.Fatalf("chromium ended with %d: %s", all.Code, all.Says)
	}
	return strings.Split(strings.TrimSpace(shown), "\n"), log
}

// A browser reports what was aborted as failed, with a reason as without, and goes on to the next connection. An early
// close_notify it takes for success.
func TestABrowserReportsAnAbort(t *testing.T) {
	var paths, want []string
	add := func(framing, ending, end string) {
		path := clientPath{framing, ending}.String()
		paths, want = append(paths, path), append(want, path+": "+end)
	}
	for _, framing := range framings {
		add(framing, "reason", "NetworkError")
		add(framing, "complete", "complete 10000")
		add(framing, "abort", "NetworkError")
		add(framing, "complete", "complete 10000")
	}
	add("eof", "close", "complete 5000")
	ends, _ := browse(t, paths)
	if diff := cmp.Diff(want, ends); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A reason costs a browser no handshake: its next connection resumes as it does after the alert alone.
func TestAReasonCostsABrowserNothing(t *testing.T) {
	complete := clientPath{"eof", "complete"}.String()
	for _, ending := range []string{"abort", "reason"} {
		paths := []string{complete, complete, complete, clientPath{"eof", ending}.String(), complete, complete}
		_, log := browse(t, paths)
		// With the page the browser makes connections in advance, before it has a ticket. The first requests use them up.
		const warm = 3
		if diff := cmp.Diff([]bool{true, true, true, true}, log.all()[warm:]); diff != "" {
			t.Errorf("%s: resumptions, -want +got:\n%s", ending, diff)
		}
	}
}
