package tlsstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// An httpServer is a net/http server over a Listener, set up as the doc of AbortHandler says.
type httpServer struct {
	clientServer
	log    *tlstest.Buffer
	closed chan struct{} // receives when the server is done with a connection
}

func serveHTTP(t *testing.T, h http.Handler, protos ...string) httpServer {
	t.Helper()
	caFile, _, _, err := abortCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config := abortCA.ServerConfig()
	config.NextProtos = protos
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := httpServer{clientServer{port, caFile}, &tlstest.Buffer{}, make(chan struct{}, 100)}
	server := &http.Server{Handler: h, ConnContext: tlsstream.ConnContext, ErrorLog: log.New(s.log, "", 0)}
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			s.closed <- struct{}{}
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return s
}

// halfOf sends the first half of a response. In a framing of "eof", HTTP/1.x responses have neither a length nor chunks.
func halfOf(w http.ResponseWriter, framing string) {
	switch framing {
	case "length":
		w.Header().Set("Content-Length", "10000")
	case "eof":
		w.Header().Set("Transfer-Encoding", "identity")
	}
	io.WriteString(w, strings.Repeat("x", bodySent))
	w.(http.Flusher).Flush()
}

// giveUp answers half, and ends as the path says: by panics, or by AbortRequest.
func giveUp(w http.ResponseWriter, r *http.Request) {
	p := parseClientPath(r.URL.Path)
	halfOf(w, p.framing)
	switch p.ending {
	case "abort":
		panic(http.ErrAbortHandler)
	case "panic":
		panic("out of cheese")
	case "denied":
		tlsstream.AbortRequest(r, tlsstream.AlertAccessDenied)
	}
	io.WriteString(w, strings.Repeat("x", bodySize-bodySent))
}

// Every client reports a handler that panics, in every framing.
func TestClientsReportAnAbortedHandler(t *testing.T) {
	s := serveHTTP(t, tlsstream.AbortHandler(http.HandlerFunc(giveUp)), "http/1.1") // curl would choose HTTP/2
	forClients(t, func(t *testing.T, c clientProgram) { c.check(t, s.clientServer, abortsInEveryFraming()) })
}

// The control: net/http alone says close_notify.
func TestClientsMissAPanicControl(t *testing.T) {
	s := serveHTTP(t, http.HandlerFunc(giveUp), "http/1.1")
	missed := 0
	for _, c := range clientPrograms {
		if c.eofClose.Code != 0 || c.name == "Java SSLSocket" { // it is slow to start, and speaks no HTTP
			continue
		}
		end := c.fetch(t, s.clientServer, []clientPath{{"eof", "abort"}})[0]
		if diff := cmp.Diff(c.eofClose, end.got(c.eofClose)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", c.name, diff)
		}
		missed++
	}
	if missed == 0 {
		t.Error("no client")
	}
}

// fetchHTTP requests a path with crypto/tls and net/http. reused tells whether the connection had carried a request.
func fetchHTTP(t *testing.T, client *http.Client, s httpServer, p clientPath) (n int, proto string, reused bool, err error) {
	t.Helper()
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", s.url(p), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", reused, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return len(body), response.Proto, reused, err
}

func httpClient(t *testing.T, http2 bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: abortCA.Pool()}, ForceAttemptHTTP2: http2}
	if !http2 {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: clientTimeout}
}

// On HTTP/1.1 the connection ends with the alert that the handler chose, the panic goes on, and requests before it on
// the same connection are not touched.
func TestAbortedHandlersOnHTTP1(t *testing.T) {
	tests := []struct {
		ending string
		alert  tlsstream.Alert
		logged bool // net/http reports the panic
	}{
		{"abort", tlsstream.AlertInternalError, false},
		{"panic", tlsstream.AlertInternalError, true},
		{"denied", tlsstream.AlertAccessDenied, false},
	}
	for _, test := range tests {
		t.Run(test.ending, func(t *testing.T) {
			abortNoLeak(t)
			s := serveHTTP(t, tlsstream.AbortHandler(http.HandlerFunc(giveUp)), "h2", "http/1.1")
			client := httpClient(t, false)
			n, proto, _, err := fetchHTTP(t, client, s, clientPath{"length", "complete"})
			if n != bodySize || proto != "HTTP/1.1" || err != nil {
				t.Fatalf("a whole response: %d bytes, %s, %v", n, proto, err)
			}
			n, _, reused, err := fetchHTTP(t, client, s, clientPath{"chunked", test.ending})
			if got, ok := abortAlert(err); n != bodySent || !reused || !ok || got != test.alert {
				t.Errorf("%d bytes, connection reused: %v, error %v; want %d, true, alert %v", n, reused, err, bodySent, test.alert)
			}
			<-s.closed
			if logged := strings.Contains(s.log.String(), "out of cheese"); logged != test.logged {
				t.Errorf("net/http logged %q", s.log)
			}
		})
	}
}

// A response that is given up because its time is over, as by http.Server's WriteTimeout, ends with the alert, too.
func TestAbortedHandlerPastItsDeadline(t *testing.T) {
	s := serveHTTP(t, tlsstream.AbortHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		halfOf(w, "eof")
		if err := http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})), "http/1.1")
	n, _, _, err := fetchHTTP(t, httpClient(t, false), s, clientPath{"eof", "late"})
	if got, ok := abortAlert(err); n != bodySent || !ok || got != tlsstream.AlertInternalError {
		t.Errorf("%d bytes and %v, want %d and an alert", n, err, bodySent)
	}
}

// On TLS 1.2 the alert is another one. net/http reads the connection meanwhile.
func TestAbortedHandlerOnTLS12(t *testing.T) {
	abortNoLeak(t)
	s := serveHTTP(t, tlsstream.AbortHandler(http.HandlerFunc(giveUp)), "http/1.1")
	client := httpClient(t, false)
	client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	for _, framing := range framings {
		n, _, _, err := fetchHTTP(t, client, s, clientPath{framing, "abort"})
		if got, ok := abortAlert(err); n != bodySent || !ok || got != tlsstream.AlertBadRecordMAC {
			t.Errorf("%s: %d bytes and %v, want %d and an alert", framing, n, err, bodySent)
		}
		<-s.closed
	}
}

// AbortRequest needs no AbortHandler.
func TestAbortRequestAlone(t *testing.T) {
	s := serveHTTP(t, http.HandlerFunc(giveUp), "http/1.1")
	n, _, _, err := fetchHTTP(t, httpClient(t, false), s, clientPath{"eof", "denied"})
	if got, ok := abortAlert(err); n != bodySent || !ok || got != tlsstream.AlertAccessDenied {
		t.Errorf("%d bytes and %v, want %d and an alert", n, err, bodySent)
	}
}

// On HTTP/2 the stream is reset, and the connection serves the next request.
func TestAbortedHandlersOnHTTP2(t *testing.T) {
	for _, ending := range []string{"abort", "denied"} {
		t.Run(ending, func(t *testing.T) {
			abortNoLeak(t)
			s := serveHTTP(t, tlsstream.AbortHandler(http.HandlerFunc(giveUp)), "h2", "http/1.1")
			client := httpClient(t, true)
			for i := range 3 {
				n, proto, reused, err := fetchHTTP(t, client, s, clientPath{"", "complete"})
				if n != bodySize || proto != "HTTP/2.0" || reused != (i > 0) || err != nil {
					t.Errorf("a whole response: %d bytes, %s, connection reused: %v, %v", n, proto, reused, err)
				}
				n, _, reused, err = fetchHTTP(t, client, s, clientPath{"", ending})
				if n != bodySent || !reused || err == nil {
					t.Errorf("a response given up: %d bytes, connection reused: %v, %v", n, reused, err)
				}
				if alert, ok := abortAlert(err); ok {
					t.Errorf("the connection ended with alert %v", alert)
				}
			}
			client.CloseIdleConnections()
			<-s.closed
		})
	}
	t.Run("curl", func(t *testing.T) {
		s := serveHTTP(t, tlsstream.AbortHandler(http.HandlerFunc(giveUp)), "h2")
		end := runClient(t, "", tlstest.Program(t, "curl"), "-q", "-sS", "--http2", "--cacert", s.caFile, "-o", os.DevNull,
			s.url(clientPath{"", "abort"}))
		want := clientEnd{92, "HTTP/2 stream"}
		if diff := cmp.Diff(want, end.got(want)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// Where there is no connection of ours, the handler ends as net/http has it end.
func TestAbortRequestElsewhere(t *testing.T) {
	handler := tlsstream.AbortHandler(http.HandlerFunc(giveUp))
	ended := func(r *http.Request) (recovered any) {
		defer func() { recovered = recover() }()
		handler.ServeHTTP(httptest.NewRecorder(), r)
		return nil
	}
	plain, other := net.Pipe()
	defer plain.Close()
	defer other.Close()
	plain.SetReadDeadline(time.Unix(1, 0))
	for _, ctx := range []context.Context{t.Context(), tlsstream.ConnContext(t.Context(), plain)} {
		for _, ending := range []string{"abort", "denied"} {
			r := httptest.NewRequest("GET", clientPath{"length", ending}.String(), nil).WithContext(ctx)
			if err, _ := ended(r).(error); !errors.Is(err, http.ErrAbortHandler) {
				t.Errorf("%s: %v", ending, err)
			}
		}
		if got := ended(httptest.NewRequest("GET", "/length/complete", nil).WithContext(ctx)); got != nil {
			t.Errorf("a handler that returned: %v", got)
		}
	}
	go other.Write([]byte("x")) // ends a Read without a deadline
	if _, err := plain.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection that is not ours was touched: %v", err)
	}
}
