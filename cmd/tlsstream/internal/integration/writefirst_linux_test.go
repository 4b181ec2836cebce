package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// HTTP/1.1 clients that write a whole request before they read. A server's ticket carries the client's certificates: one
// of 60 KB does not fit small buffers, and a server that sends it unasked waits for a reader that waits for it.

const (
	bodySize   = 16 << 20 // more than the buffers of the other direction take, grown as far as Linux lets them
	ticketSize = 60 << 10
)

// A sender makes one request with a large body over a connection from dial, and returns the answer.
type sender struct {
	name string
	send func(addr string, dial func() (net.Conn, error), config *tls.Config, body []byte) (string, error)
}

var senders = []sender{{"fasthttp", sendFast}, {"by hand", sendByHand}}

// sendFast has fasthttp make the TLS.
func sendFast(addr string, dial func() (net.Conn, error), config *tls.Config, body []byte) (string, error) {
	client := &fasthttp.HostClient{
		Addr:                      addr,
		IsTLS:                     true,
		TLSConfig:                 config,
		Dial:                      func(string) (net.Conn, error) { return dial() },
		MaxIdleConnDuration:       100 * time.Millisecond,
		MaxIdemponentCallAttempts: 1,
	}
	defer client.CloseIdleConnections()
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod("POST")
	request.SetRequestURI("https://" + addr + "/")
	request.SetBodyRaw(body)
	if err := client.Do(request, response); err != nil {
		return "", err
	}
	return string(response.Body()), nil
}

func sendByHand(_ string, dial func() (net.Conn, error), config *tls.Config, body []byte) (string, error) {
	raw, err := dial()
	if err != nil {
		return "", err
	}
	conn := tls.Client(raw, config)
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	answer, err := io.ReadAll(response.Body)
	return string(answer), err
}

// dialSmall connects with a receive buffer as small as Linux makes it.
func dialSmall(addr string) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)
		}), err)
	}}
	return dialer.Dial("tcp", addr)
}

// A smallListener's connections have send buffers as small as Linux makes them.
type smallListener struct{ net.Listener }

func (l smallListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c, c.(*net.TCPConn).SetWriteBuffer(1)
}

// countBody answers with how many bytes came.
func countBody(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return // the client has gone
	}
	io.WriteString(w, strconv.FormatInt(n, 10))
}

// fasthttp over our layer: it makes the TLS, from a wrapped configuration, over connections that Dial has wrapped. The
// server is net/http over our listener.
func Example_fasthttp() {
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", testCA.ServerConfig())
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(countBody)}
	go server.Serve(l)
	defer server.Close()

	client := &fasthttp.HostClient{
		Addr:      l.Addr().String(),
		IsTLS:     true,
		TLSConfig: ticketdefer.WrapConfig(testCA.ClientConfig()),
		Dial: func(addr string) (net.Conn, error) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			return ticketdefer.WrapConn(c), nil
		},
		MaxIdleConnDuration: 100 * time.Millisecond,
	}
	defer client.CloseIdleConnections()
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	request.Header.SetMethod("POST")
	request.SetRequestURI("https://" + l.Addr().String())
	request.SetBody(make([]byte, 1<<20))
	if err := client.Do(request, response); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s bytes\n", response.Body())

	// Output:
	// 1048576 bytes
}

// Both sides block for ever over crypto/tls alone, the server in its handshake, and neither does over our layer.
func TestWriteFirstClientsMeetHugeTickets(t *testing.T) {
	const patience = 2 * time.Second // with the control; a body that is taken at all is taken in a tenth of it
	body := bytes.Repeat([]byte("body"), bodySize/4)
	certificate := testCA.BigClient("alice", ticketSize)
	for _, sender := range senders {
		for _, layer := range layers {
			t.Run(sender.name+"/"+layer.name, func(t *testing.T) {
				t.Parallel()
				serverConfig := testCA.ServerConfig()
				serverConfig.ClientAuth = tls.RequestClientCert
				l := listen(t)
				server := &http.Server{Handler: http.HandlerFunc(countBody), ErrorLog: log.New(io.Discard, "", 0)}
				go server.Serve(tls.NewListener(layer.listener(smallListener{l}), layer.config(serverConfig)))
				defer server.Close()

				config := resumable(testCA)
				config.Certificates = []tls.Certificate{certificate}
				limit := testTimeout
				if !layer.defers {
					limit = patience
				}
				// Closed from outside, a connection does not wait for its own close_notify.
				var expired atomic.Bool
				dial := func() (net.Conn, error) {
					c, err := dialSmall(l.Addr().String())
					if err != nil {
						return nil, err
					}
					timer := time.AfterFunc(limit, func() {
						expired.Store(true)
						c.Close()
					})
					t.Cleanup(func() { timer.Stop() })
					return layer.conn(c), nil
				}
				start := time.Now()
				answer, err := sender.send(l.Addr().String(), dial, layer.config(config), body)
				t.Logf("%q, %v after %v", answer, err, time.Since(start).Round(time.Millisecond))
				if !layer.defers {
					if !expired.Load() || err == nil {
						t.Errorf("blind: the control did not block: %q, %v", answer, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				mustEqual(t, "answer", strconv.Itoa(len(body)), answer)
			})
		}
	}
}
