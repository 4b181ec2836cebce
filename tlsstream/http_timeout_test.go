package tlsstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// http.TimeoutHandler answers for a handler whose time is over, and lets it go on. When that one panics later, the
// connection may carry another request's response.
func TestHandlerThatPanicsAfterItsTimeoutLeavesTheConnection(t *testing.T) {
	next, gone := make(chan struct{}), make(chan struct{})
	late := tlsstream.AbortHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		<-next
		panic(http.ErrAbortHandler)
	}))
	mux := http.NewServeMux()
	mux.Handle("/late", http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		late.ServeHTTP(w, r)
	}), time.Millisecond, "late"))
	mux.HandleFunc("/next", func(w http.ResponseWriter, _ *http.Request) {
		close(next)
		<-gone
		io.WriteString(w, "whole")
	})
	s := serveHTTP(t, mux, "http/1.1")
	conn, err := tls.Dial("tcp", "127.0.0.1:"+s.port, abortCA.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(abortPatience))
	r := bufio.NewReader(conn)
	for _, want := range []struct{ path, body string }{{"late", "late"}, {"next", "whole"}} {
		fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n", want.path)
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("/%s: %v", want.path, err)
		}
		if body, err := io.ReadAll(response.Body); string(body) != want.body || err != nil {
			t.Errorf("/%s: %q, %v, want %q", want.path, body, err, want.body)
		}
	}
}

// A context that has ended says nothing of the response: it is the handler's own to give up.
func TestHandlerThatPanicsWithItsContextEndsTheConnection(t *testing.T) {
	aborting := tlsstream.AbortHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		halfOf(w, "eof")
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}))
	s := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Millisecond)
		defer cancel()
		aborting.ServeHTTP(w, r.WithContext(ctx))
	}), "http/1.1")
	n, _, _, err := fetchHTTP(t, httpClient(t, false), s, clientPath{"eof", "late"})
	if got, ok := abortAlert(err); n != bodySent || !ok || got != tlsstream.AlertInternalError {
		t.Errorf("%d bytes and %v, want %d and an alert", n, err, bodySent)
	}
}
