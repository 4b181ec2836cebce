package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// slowHTTP serves plain HTTP that takes bodies slowly and sends their lengths, as far as
// they are the pattern, to got.
func slowHTTP(t *testing.T, got chan<- int) (address string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		time.Sleep(200 * time.Millisecond)
		body, err := io.ReadAll(req.Body)
		if err != nil || !bytes.Equal(body, pattern(len(body))) {
			got <- -1
			return
		}
		got <- len(body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
