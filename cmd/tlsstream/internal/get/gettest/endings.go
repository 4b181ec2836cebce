package gettest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// What an [Endings] server sends.
const (
	BodySize = 10_000
	BodySent = 5_000 // before it gives up
	Reason   = "the disk of store 7 is full"
)

// Body is the whole file.
var Body = func() string {
	var b strings.Builder
	for i := 0; b.Len() < BodySize; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()[:BodySize]
}()

// The framings and endings that a path of an [Endings] server names, as in /FRAMING/ENDING/NAME.
const (
	Length  = "length"
	Chunked = "chunked"
	EOF     = "eof" // neither, as in HTTP/1.0

	Whole       = "whole"        // all of it, and close_notify
	WholeFIN    = "whole-fin"    // all of it, and FIN without close_notify
	FIN         = "fin"          // half of it, and so on
	CloseNotify = "close-notify" // early
	Alert       = "alert"        // internal_error
	WithReason  = "reason"       // the same, with words
	Reset       = "reset"
	Silent      = "silent" // nothing more until the client goes
)

// An Endings server ends its responses in all the ways there are. The others say nothing of ranges and validators: each
// download starts at the beginning.
type Endings struct {
	Port     string
	listener *tlsstream.Listener
	serving  sync.WaitGroup
}

// ServeEndings starts one on 127.0.0.1.
func ServeEndings(config *tls.Config) (*Endings, error) {
	options := &tlsstream.Options{Reasons: true}
	l, err := options.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	s := &Endings{Port: port, listener: l}
	s.serving.Go(func() {
		for {
			c, err := l.AcceptStream()
			if err != nil {
				return
			}
			s.serving.Go(func() { serveEnding(c) })
		}
	})
	return s, nil
}

// Close waits for the connections to end.
func (s *Endings) Close() {
	s.listener.Close()
	s.serving.Wait()
}

// URL is where a file with such an ending is.
func (s *Endings) URL(framing, ending string) string {
	return fmt.Sprintf("https://localhost:%s/%s/%s/file", s.Port, framing, ending)
}

func serveEnding(c *tlsstream.Conn) {
	defer c.NetConn().Close()
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	path := strings.Split(request.URL.Path, "/")
	if len(path) != 4 {
		return
	}
	framing, ending := path[1], path[2]
	head := map[string]string{
		Length:  "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(BodySize) + "\r\n\r\n",
		Chunked: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		EOF:     "HTTP/1.0 200 OK\r\n\r\n",
	}[framing]
	half := func(part string) string {
		if framing == Chunked {
			return fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
		}
		return part
	}
	io.WriteString(c, head+half(Body[:BodySent]))
	switch ending {
	case Whole, WholeFIN:
		rest := half(Body[BodySent:])
		if framing == Chunked {
			rest += "0\r\n\r\n"
		}
		io.WriteString(c, rest)
		if ending == Whole {
			c.Close()
		}
	case CloseNotify:
		c.Close()
	case Alert:
		c.Abort(tlsstream.AlertInternalError)
	case WithReason:
		c.AbortWithReason(tlsstream.AlertInternalError, Reason)
	case Reset:
		// The client must have the half first, or the reset may take it away.
		c.NetConn().(*net.TCPConn).SetLinger(0)
	case Silent:
		io.Copy(io.Discard, c)
	}
}
