package tlsstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// The files clients_*_test.go put servers that give up in the middle of a response before programs that people use.
// What those say and exit with is written down in tables, and asserted.

// clientTimeout bounds one client. It is reached only if something hangs.
const clientTimeout = 60 * time.Second

// clientSlots bounds the client processes that run at once.
var clientSlots = make(chan struct{}, 3)

const (
	bodySize = 10_000 // of a response
	bodySent = 5_000  // before the server gives up
)

var (
	framings = []string{"length", "chunked", "eof"}
	// all is well; a fatal alert; close_notify too early; FIN without one
	endings = []string{"complete", "abort", "close", "fin"}
)

// A clientPath is the path of a request, and says how the server is to answer it.
type clientPath struct{ framing, ending string }

func (p clientPath) String() string { return "/" + p.framing + "/" + p.ending }

func parseClientPath(s string) (p clientPath) {
	if f := strings.Split(s, "/"); len(f) == 3 {
		p = clientPath{f[1], f[2]}
	}
	return p
}

// A clientServer is a server on 127.0.0.1, and the files of its CA.
type clientServer struct {
	port   string
	caFile string
}

// serveClients starts a server that handles each connection of l in a goroutine of its own, until the test ends.
func serveClients(t *testing.T, l net.Listener, handle func(net.Conn)) clientServer {
	t.Helper()
	caFile, _, _, err := abortCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(clientTimeout))
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		handlers.Wait()
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return clientServer{port, caFile}
}

// A rawStreamListener is a Listener whose Accept is AcceptStream: no handshake.
type rawStreamListener struct{ *tlsstream.Listener }

func (l rawStreamListener) Accept() (net.Conn, error) { return l.AcceptStream() }

// listenClients listens for *tls.Conns, or for *Conns.
func listenClients(t *testing.T, o tlsstream.Options, config *tls.Config, stream bool) net.Listener {
	t.Helper()
	l, err := o.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	if stream {
		return rawStreamListener{l}
	}
	return l
}

// answer reads a request and answers it as its path says.
func answer(c net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	answerAs(c, parseClientPath(request.URL.Path))
}

// answerAs sends the response that p says, to a request that has been read.
func answerAs(c net.Conn, p clientPath) {
	head, part := "", strings.Repeat("x", bodySent)
	rest := part
	switch p.framing {
	case "length":
		head = fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", bodySize)
	case "chunked":
		head = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
		part = fmt.Sprintf("%x\r\n%s\r\n", bodySent, part)
		rest = part + "0\r\n\r\n"
	case "eof":
		head = "HTTP/1.0 200 OK\r\n\r\n"
	}
	if _, err := io.WriteString(c, head+part); err != nil {
		return
	}
	switch p.ending {
	case "complete":
		io.WriteString(c, rest)
	case "abort":
		tlsstream.Abort(c, tlsstream.AlertInternalError)
	case "reason":
		c.(*tlsstream.Conn).AbortWithReason(tlsstream.AlertInternalError, "the disk is full")
	case "fin":
		finOnly(c)
	}
}

// finOnly ends the transport of c without a word of TLS, and not by a RST.
func finOnly(c net.Conn) {
	for {
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.CloseWrite()
			io.Copy(io.Discard, tcp)
			tcp.Close()
			return
		}
		c = c.(interface{ NetConn() net.Conn }).NetConn()
	}
}

// A clientEnd is what a program ended with.
type clientEnd struct {
	Code int
	Says string // the part of what it printed that the test is about
}

// fetchPaths requests paths, on a connection each, and returns the exit codes and all that was printed.
type fetchPaths func(t *testing.T, s clientServer, paths []clientPath) []clientEnd

// A clientProgram fetches from a server, and says what it learned.
type clientProgram struct {
	name  string
	fetch fetchPaths

	complete    clientEnd // after a response that is whole
	abort       clientEnd // after the alert, in every framing
	lengthClose clientEnd // after close_notify too early, with Content-Length and with chunks
	lengthFIN   clientEnd // the same, after a FIN without close_notify
	eofClose    clientEnd // after close_notify too early, where the response ends with the connection
	eofFIN      clientEnd // the same, after a FIN without close_notify
}

// want is what the program is to end with.
func (c clientProgram) want(p clientPath) clientEnd {
	switch {
	case p.ending == "complete":
		return c.complete
	case p.ending == "abort":
		return c.abort
	case p.framing == "eof" && p.ending == "close":
		return c.eofClose
	case p.framing == "eof":
		return c.eofFIN
	case p.ending == "close":
		return c.lengthClose
	}
	return c.lengthFIN
}

// got cuts what the program printed down to the text that is wanted, if it is there.
func (e clientEnd) got(want clientEnd) clientEnd {
	if want.Says != "" && strings.Contains(e.Says, want.Says) {
		return clientEnd{e.Code, want.Says}
	}
	if want.Says == "" && e.Code == want.Code {
		return want
	}
	return clientEnd{e.Code, e.Says[max(0, len(e.Says)-300):]}
}

// check fetches the paths and compares.
func (c clientProgram) check(t *testing.T, s clientServer, paths []clientPath) {
	t.Helper()
	for i, end := range c.fetch(t, s, paths) {
		want := c.want(paths[i])
		if diff := cmp.Diff(want, end.got(want)); diff != "" {
			t.Errorf("%v, -want +got:\n%s", paths[i], diff)
		}
	}
}

// runClient runs a program to its end.
func runClient(t *testing.T, input string, program string, args ...string) clientEnd {
	t.Helper()
	clientSlots <- struct{}{}
	defer func() { <-clientSlots }()
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	// Neither a proxy nor a language nor a configuration of this machine's.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if input != "" {
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close() // only now: some programs close the connection at its end
		go io.WriteString(stdin, input)
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s did not end: %s", program, out.Bytes())
	}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return clientEnd{cmd.ProcessState.ExitCode(), out.String()}
}

// pythonBinary is the interpreter itself: what is in the PATH may be a slow script that looks for one.
var pythonBinary = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
})

func clientPython(t *testing.T) string {
	t.Helper()
	tlstest.Program(t, "python3")
	path, err := pythonBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
