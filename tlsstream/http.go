package tlsstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

type connKey struct{}

// ConnContext goes into the ConnContext field of an http.Server, so that
// [AbortHandler] and [AbortRequest] find a request's connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// AbortHandler makes the failure of a response visible to every client. When h
// panics, as with http.ErrAbortHandler, net/http ends an HTTP/1.x response by
// closing the connection, with a close_notify that says all is well: where the
// response has neither Content-Length nor chunks, no client can tell that it is
// incomplete. Under AbortHandler the connection ends with the fatal alert
// internal_error instead, which curl, wget, Python, Node.js, Go and openssl all
// report; on TLS 1.2 with bad_record_mac. On HTTP/2 net/http resets the stream
// and keeps the connection; that is left as it is.
//
//	server := &http.Server{Handler: tlsstream.AbortHandler(h), ConnContext: tlsstream.ConnContext}
//	err := server.Serve(tlsstream.NewListener(l, config))
func AbortHandler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		normal := false
		defer func() {
			if !normal && !timedOut(w, r) {
				abortHTTP1(r, AlertInternalError) // and the panic goes on
			}
		}()
		h.ServeHTTP(w, r)
		normal = true
	})
}

// timedOut reports whether an http.TimeoutHandler around the handler has answered in
// its place: the connection may carry another response by now.
func timedOut(w http.ResponseWriter, r *http.Request) bool {
	if r.ProtoMajor != 1 || r.Context().Err() == nil {
		return false
	}
	_, err := w.Write(nil)
	return errors.Is(err, http.ErrHandlerTimeout)
}

// AbortRequest ends the response to r from inside its handler, with the given
// alert on HTTP/1.x and a stream reset on HTTP/2. It does not return: it panics with
// http.ErrAbortHandler. It needs no AbortHandler, but [ConnContext]. Do not call it once
// an http.TimeoutHandler has answered the request: the connection may carry another
// response by then.
func AbortRequest(r *http.Request, a Alert) {
	abortHTTP1(r, a)
	panic(http.ErrAbortHandler)
}

func abortHTTP1(r *http.Request, a Alert) {
	if r.ProtoMajor != 1 {
		return
	}
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok && layerOf(c) != nil {
		_ = c.SetDeadline(time.Time{}) // net/http's is for the response; Abort has bounds of its own
		_ = Abort(c, a)                // the connection ends in any case
	}
}
