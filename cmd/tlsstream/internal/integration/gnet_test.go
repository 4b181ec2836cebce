package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/cpeer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// maxUnsent is how many bytes wait in gnet for a peer that does not read, before the connection is given up: gnet has no
// way to stop reading from it.
const maxUnsent = 1 << 20

var errNotReading = errors.New("the peer does not read")

// A loopServer is TLS on gnet's event loops: an Engine for each connection, and no goroutine.
type loopServer struct {
	gnet.BuiltinEventEngine
	config *tls.Config
	echo   bool          // send back what comes
	ended  func(loopEnd) // a connection is over; may be nil
	flush  bool          // send tickets after the handshake, as crypto/tls does: the control

	booted chan gnet.Engine
}

// A loopEnd is what became of a connection.
type loopEnd struct {
	received int64
	err      error // io.EOF after close_notify
}

// A loopConn is gnet's Context of a connection.
type loopConn struct {
	engine *tlsstream.Engine
	end    loopEnd
}

func (s *loopServer) OnBoot(e gnet.Engine) gnet.Action {
	s.booted <- e
	return gnet.None
}

func (s *loopServer) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	c.SetContext(&loopConn{engine: tlsstream.NewServerEngine(s.config)})
	return nil, gnet.None
}

// OnTraffic feeds what has come, and lets the engine work and send until it wants more.
func (s *loopServer) OnTraffic(c gnet.Conn) gnet.Action {
	conn := c.Context().(*loopConn)
	for c.InboundBuffered() > 0 {
		p, err := c.Peek(-1)
		if err != nil {
			conn.end.err = err
			return gnet.Close
		}
		n, err := conn.engine.Feed(p)
		if err != nil && !errors.Is(err, tlsstream.ErrInputFull) {
			conn.end.err = err
			return gnet.Close
		}
		c.Discard(n)
		err = s.advance(c, conn)
		if _, sendErr := conn.engine.WriteTo(c); err == nil {
			err = sendErr
		}
		if err != nil {
			conn.end.err = err
			return gnet.Close
		}
	}
	return gnet.None
}

// advance reads until the engine wants more, which is nil, or the stream ends.
func (s *loopServer) advance(c gnet.Conn, conn *loopConn) error {
	if s.flush && !conn.engine.ConnectionState().HandshakeComplete && conn.engine.Handshake() == nil {
		if err := conn.engine.FlushTickets(); err != nil {
			return err
		}
	}
	p := make([]byte, 16<<10)
	for {
		n, err := conn.engine.Read(p)
		conn.end.received += int64(n)
		if s.echo {
			for unsent := p[:n]; len(unsent) > 0; {
				n, err := conn.engine.Write(unsent)
				if err != nil && !errors.Is(err, tlsstream.ErrWantWrite) {
					return err
				}
				unsent = unsent[n:]
				if _, err := conn.engine.WriteTo(c); err != nil {
					return err
				}
			}
			if c.OutboundBuffered() > maxUnsent {
				return errNotReading
			}
		}
		switch {
		case errors.Is(err, tlsstream.ErrWantRead):
			return nil
		case errors.Is(err, io.EOF):
			conn.engine.Close() // OnTraffic sends close_notify, and gnet what it has
			return err
		case err != nil:
			return err // OnTraffic sends the alert, if there is one
		}
	}
}

// OnClose learns whether TCP ended with FIN; an engine that has not seen close_notify then says ErrTruncated.
func (s *loopServer) OnClose(c gnet.Conn, err error) gnet.Action {
	conn := c.Context().(*loopConn)
	if errors.Is(err, io.EOF) {
		conn.engine.FeedEOF()
		_, err = conn.engine.Read(make([]byte, 1))
	}
	if conn.end.err == nil {
		conn.end.err = err
	}
	conn.engine.Close()
	if s.ended != nil {
		s.ended(conn.end)
	}
	return gnet.None
}

// quiet is a gnet logger.
type quiet struct{}

func (quiet) Debugf(string, ...any)             {}
func (quiet) Infof(string, ...any)              {}
func (quiet) Warnf(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// run starts the server on 127.0.0.1 and returns its address, and what stops it.
func (s *loopServer) run() (addr string, stop func(), err error) {
	s.booted = make(chan gnet.Engine, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0") // gnet would not say which port it took
	if err != nil {
		return "", nil, err
	}
	addr = l.Addr().String()
	l.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- gnet.Run(s, "tcp://"+addr, gnet.WithNumEventLoop(2), gnet.WithLogger(quiet{}))
	}()
	select {
	case e := <-s.booted:
		return addr, func() {
			e.Stop(context.Background())
			<-ended
		}, nil
	case err := <-ended:
		return "", nil, err
	}
}

// A TLS echo server on an event loop.
func Example_gnet() {
	server := &loopServer{config: testCA.ServerConfig(), echo: true}
	addr, stop, err := server.run()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	c, err := tls.Dial("tcp", addr, testCA.ClientConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	word := make([]byte, 5)
	_, err = io.ReadFull(c, word)
	fmt.Printf("%s %v\n", word, err)

	// Output:
	// hello <nil>
}

// 200 connections, each in use, cost not one goroutine.
func TestGnetNeedsNoGoroutinePerConnection(t *testing.T) {
	const conns = 200
	server := &loopServer{config: testCA.ServerConfig(), echo: true}
	addr, stop, err := server.run()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	echo := func(c *tls.Conn, word string) {
		t.Helper()
		got := make([]byte, len(word))
		if _, err := io.WriteString(c, word); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "echo", word, string(got))
	}
	config := resumable(testCA)
	var all []*tls.Conn
	var before int
	for i := range conns {
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(testTimeout))
		c := tls.Client(raw, config) // without a context and its goroutine
		all = append(all, c)
		echo(c, "hello "+strconv.Itoa(i))
		if i == 0 {
			before = runtime.NumGoroutine()
		}
	}
	for i, c := range all {
		echo(c, "again "+strconv.Itoa(i))
		mustEqual(t, "resumed", i > 0, c.ConnectionState().DidResume)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines with %d connections, %d with one", after, conns, before)
	}
}

// What waits for a peer that does not read is bounded.
func TestGnetGivesUpOnAPeerThatDoesNotRead(t *testing.T) {
	ends := make(chan loopEnd, 1)
	server := &loopServer{config: testCA.ServerConfig(), echo: true, ended: func(e loopEnd) { ends <- e }}
	addr, stop, err := server.run()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(testTimeout))
	c := tls.Client(raw, resumable(testCA))
	const tooMuch = 64 << 20 // for the kernel's buffers
	sent := 0
	for part := make([]byte, 64<<10); err == nil && sent < tooMuch; sent += len(part) {
		_, err = c.Write(part)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("after %d bytes: %v", sent, err)
	}
	end := <-ends
	t.Logf("given up after %d bytes", end.received)
	if end.err != errNotReading {
		t.Errorf("the server ended with %v", end.err)
	}
}

// Uploads of a C client that never reads arrive whole. When tickets are sent unasked, they do not.
func TestGnetUploadsArriveWhole(t *testing.T) {
	const size = 8 << 20
	dir := t.TempDir()
	program, err := cpeer.Build(dir, "openssl")
	if err != nil {
		tlstest.Missing(t, "%v", err)
	}
	caFile, _, _, err := testCA.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, flush := range []bool{true, false} {
		t.Run(fmt.Sprintf("tickets at once=%v", flush), func(t *testing.T) {
			ends := make(chan loopEnd, 1)
			server := &loopServer{config: testCA.ServerConfig(), flush: flush, ended: func(e loopEnd) { ends <- e }}
			addr, stop, err := server.run()
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			_, port, _ := net.SplitHostPort(addr)
			lost := 0
			for range *runs {
				ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
				out, err := exec.CommandContext(ctx, program, port, caFile, "write", strconv.Itoa(size), "shutdown").CombinedOutput()
				cancel()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				select {
				case end := <-ends:
					t.Logf("%d of %d bytes, %v", end.received, size, end.err)
					if end.received != size || end.err != io.EOF {
						lost++
					}
				case <-time.After(testTimeout):
					t.Fatal("the connection does not end")
				}
			}
			t.Logf("%d of %d uploads lost bytes", lost, *runs)
			if (lost > 0) != flush {
				t.Errorf("%d of %d uploads lost bytes", lost, *runs)
			}
		})
	}
}
