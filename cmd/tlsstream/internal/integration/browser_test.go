package integration

import (
	"bytes"
	"crypto"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// uploadPage sends 64 MiB by WebSocket in messages of 64 KiB, of which each is full of its number, and closes. Then it
// tells the server how that ended for it.
const uploadPage = `<!doctype html>
<link rel="icon" href="data:,">
<script>
const socket = new WebSocket("wss://" + location.host + "/upload")
socket.onopen = () => {
	for (let i = 0; i < 1024; i++) socket.send(new Uint8Array(65536).fill(i))
	socket.close(1000)
}
socket.onclose = (e) => fetch("/end", {method: "POST", body: e.wasClean + " " + e.code})
</script>
`

// A page in Chromium uploads one way, to a slow server: nothing is lost, and both ends say so.
func TestBrowserUploadsByWebSocket(t *testing.T) {
	const messages, size = 1024, 64 << 10
	chromium := tlstest.Program(t, "chromium")
	config := testCA.ServerConfig()
	pin, err := tlsstream.PinOf(config.Certificates[0].PrivateKey.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	got, end := make(chan received, 1), make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, uploadPage) })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, nil)
		if err != nil {
			got <- received{0, err}
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(size)
		for n := int64(0); ; n += size {
			_, message, err := c.Read(r.Context())
			if coder.CloseStatus(err) == coder.StatusNormalClosure {
				got <- received{n, nil}
				return
			}
			if err != nil {
				got <- received{n, err}
				return
			}
			if want := bytes.Repeat([]byte{byte(n / size)}, size); !bytes.Equal(message, want) {
				t.Errorf("message %d is another, or not whole", n/size)
			}
			time.Sleep(time.Millisecond) // the load under test: the browser is always ahead
		}
	})
	mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		said, _ := io.ReadAll(r.Body)
		end <- string(said)
	})
	l := serveWeb(t, config, mux)
	browser := launch(t, nil, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
		"--user-data-dir="+t.TempDir(),
		"--ignore-certificate-errors-spki-list="+strings.TrimPrefix(pin.String(), "sha256/"), // it takes no CA's file
		"https://"+l.Addr().String()+"/")
	timeout := time.After(testTimeout)
	for range 2 {
		select {
		case r := <-got:
			mustEqual(t, "received", received{messages * size, nil}, r)
		case said := <-end:
			mustEqual(t, "the browser's close event", "true 1000", said)
		case <-browser.ended:
			t.Fatal("the browser ended")
		case <-timeout:
			t.Fatal("no end within ", testTimeout)
		}
	}
}
