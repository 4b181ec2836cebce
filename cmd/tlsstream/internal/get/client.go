package get

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

const (
	maxRedirects   = 10        // as net/http and most browsers' half
	maxHeaderBytes = 256 << 10 // room for any honest header
)

// A client makes HTTP/1.1 requests, each over a *tlsstream.Conn of its own. That is what makes an end without
// close_notify an error; and as no connection serves twice, net/http never repeats a request behind our back.
type client struct {
	http    *http.Client
	dialer  tlsstream.Dialer
	timeout time.Duration

	mu   sync.Mutex
	last *watchedConn // guarded by mu
}

func newClient(config *tls.Config, timeout time.Duration) *client {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	config.ClientSessionCache = tls.NewLRUClientSessionCache(0) // the next request resumes
	c := &client{timeout: timeout}
	c.dialer = tlsstream.Dialer{
		Config: config,
		// A GET that the server has not read may be lost: nothing is drained.
		Options:   tlsstream.Options{Reasons: true, DrainTimeout: -1},
		NetDialer: timedDialer{net.Dialer{Timeout: timeout}},
	}
	c.http = &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			DialTLSContext: c.dial,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("a connection without TLS") // checkRedirect prevents it
			},
			DisableKeepAlives:      true,
			DisableCompression:     true, // or ranges and lengths would be of something else
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
	}
	return c
}

func checkRedirect(request *http.Request, via []*http.Request) error {
	switch {
	case request.URL.Scheme != "https":
		return &Error{Redirect, fmt.Sprintf("refused a redirect from %s to %s, which has no TLS", via[len(via)-1].URL.Redacted(), request.URL.Redacted()),
			"such a download could be changed by anybody on the way: ask for an https URL", nil}
	case len(via) > maxRedirects:
		return &Error{Redirect, fmt.Sprintf("more than %d redirects, the last to %s", maxRedirects, request.URL.Redacted()),
			"the server sends its clients in circles", nil}
	}
	return nil
}

func (c *client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := c.dialer.DialStream(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, err
	}
	watched := &watchedConn{Conn: conn, timeout: c.timeout}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = watched
	return watched, nil
}

// A timedDialer gives the handshake as much time as the connecting. A deadline of the connection is told with what the
// handshake waited for; the end of a context is not.
type timedDialer struct{ net.Dialer }

func (d timedDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(d.Timeout)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// end is what the connection of the last request said to its reader; nil if it has not ended.
func (c *client) end() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return nil
	}
	return c.last.ending()
}

// do makes a GET request. What comes back is a whole header; the body may still fail.
func (c *client) do(ctx context.Context, from *url.URL, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return nil, &Error{Protocol, fmt.Sprintf("cannot ask for %s: %v", from.Redacted(), err), "", err}
	}
	request.Header = header.Clone()
	request.Header.Set("User-Agent", "tlsstream-get")
	request.Header.Set("Accept", "*/*")
	request.Header.Set("Accept-Encoding", "identity")
	c.mu.Lock()
	c.last = nil // or a dial that fails would be told with the end of the one before
	c.mu.Unlock()
	response, err := c.http.Do(request)
	if err != nil {
		return nil, explain(ctx, err, c.end(), "before the response to "+from.Redacted())
	}
	return response, nil
}

// A watchedConn remembers how its stream ended, which net/http does not always tell, and bounds the wait for each
// piece of it.
type watchedConn struct {
	*tlsstream.Conn
	timeout time.Duration

	mu  sync.Mutex
	end error // guarded by mu
}

func (c *watchedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end = err
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n, fmt.Errorf("no byte for %v: %w", c.timeout, err)
		}
	}
	return n, err
}

func (c *watchedConn) ending() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}
