package tlsstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/cpeer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// The files real_*_test.go put servers of three stacks before clients that people use: programs on OpenSSL and GnuTLS
// (package cpeer), Python, crypto/tls and utls, over TCP on 127.0.0.1. stockStack is the control: a scenario that
// crypto/tls alone survives proves nothing about the other two.

var realRuns = flag.Int("real.runs", 0, "runs for each row of the upload tables; if zero, a few, and of the control only the sure rows")

// realTimeout bounds one connection. It is reached only if something hangs, so it is generous: the machine may be busy.
const realTimeout = 30 * time.Second

// realSlots bounds the connections that the tables have open at once, and with them the number of client processes.
var realSlots = make(chan struct{}, 4)

var (
	ourStacks  = []stack{streamStack, listenerStack}
	realStacks = []stack{stockStack, streamStack, listenerStack}
)

// A realServer is a stack's server on 127.0.0.1.
type realServer struct {
	port   string
	accept func() (secureConn, error)
	stop   func() // frees an accept that waits
}

// serve starts a server that lives as long as ctx: then its listener and its transports are closed under whatever hangs
// on them. Wrap, if not nil, wraps each accepted transport.
func serve(ctx context.Context, s stack, config *tls.Config, wrap func(*net.TCPConn) net.Conn) (*realServer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	accept := func() (secureConn, error) {
		conn, err := ln.Accept()
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		if wrap != nil {
			return s.server(wrap(conn.(*net.TCPConn)), config), nil
		}
		return s.server(conn, config), nil
	}
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	return &realServer{port: port, accept: accept, stop: func() { ln.Close() }}, nil
}

// handshake accepts the next connection and makes its handshake.
func (s *realServer) handshake() (secureConn, error) {
	conn, err := s.accept()
	if err != nil {
		return nil, err
	}
	return conn, conn.Handshake()
}

// An identity is a CA, and a client certificate from it, as values and as files.
type identity struct {
	ca                        *tlstest.CA
	cert                      tls.Certificate
	caFile, certFile, keyFile string
}

func newIdentity(t *testing.T, cert func(*tlstest.CA) tls.Certificate) *identity {
	t.Helper()
	dir := t.TempDir()
	ca := tlstest.NewCA()
	id := &identity{ca: ca, cert: cert(ca)}
	var err error
	if id.caFile, _, _, err = ca.WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	if id.certFile, id.keyFile, err = tlstest.WriteCertificate(dir, "client", id.cert); err != nil {
		t.Fatal(err)
	}
	return id
}

func smallClient(ca *tlstest.CA) tls.Certificate { return ca.Client("alice") }

// serverConfig asks for a client certificate if auth says so.
func (id *identity) serverConfig(auth bool) *tls.Config {
	config := id.ca.ServerConfig()
	if auth {
		config.ClientAuth = tls.RequestClientCert
	}
	return config
}

// peer builds the C client on a library, openssl or gnutls, and returns the program's path.
func peer(t *testing.T, library string) string {
	t.Helper()
	program, err := cpeer.Build(t.TempDir(), library)
	if err != nil {
		tlstest.Missing(t, "%v", err)
	}
	return program
}

// peerArgs are the arguments of the C client up to its operations.
func (id *identity) peerArgs(port string, auth bool) []string {
	if auth {
		return []string{port, id.caFile, id.certFile, id.keyFile}
	}
	return []string{port, id.caFile}
}

// run runs a program to its end and says what it printed if it fails.
func run(ctx context.Context, program string, args ...string) error {
	out, err := command(ctx, program, args...).CombinedOutput()
	return programError(program, out, err)
}

func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = realTimeout
	return cmd
}

func programError(program string, output []byte, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, bytes.TrimSpace(output))
}

// A peerRun is a server, and the C client against it.
type peerRun struct {
	stack     stack
	id        *identity
	program   string
	auth      bool                        // ask for a client certificate, and send one
	noTickets bool                        // SessionTicketsDisabled
	wrap      func(*net.TCPConn) net.Conn // the server's transport; nil leaves it as it is
	options   []string                    // -sndbuf, -rcvbuf
	ops       string                      // separated by spaces
}

// start starts both. What the client ended with comes on the channel.
func (p peerRun) start(ctx context.Context, t *testing.T) (*realServer, <-chan error) {
	t.Helper()
	config := p.id.serverConfig(p.auth)
	config.SessionTicketsDisabled = p.noTickets
	server, err := serve(ctx, p.stack, config, p.wrap)
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Concat(p.id.peerArgs(server.port, p.auth), p.options, strings.Fields(p.ops))
	client := make(chan error, 1)
	go func() {
		client <- run(ctx, p.program, args...)
		server.stop() // a failed client leaves it waiting
	}()
	return server, client
}

// period is the pattern's: byte i of it is i % 251. A prime, so that no whole number of records or of buffers can be
// missing from the middle of a stream unseen.
const period = 251

var patternTable = func() []byte {
	table := make([]byte, 64<<10+period)
	for i := range table {
		table[i] = byte(i % period)
	}
	return table
}()

// pattern returns the first n bytes of the pattern.
func pattern(n int) []byte {
	return bytes.Repeat(patternTable[:period], n/period+1)[:n]
}

var errNotThePattern = errors.New("received bytes are not those that were sent")

// A patternChecker is written what was received, and counts it for as long as it is the pattern.
type patternChecker struct{ n int64 }

func (c *patternChecker) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		at := int(c.n % period)
		part := p[done:min(len(p), done+len(patternTable)-at)]
		if !bytes.Equal(part, patternTable[at:at+len(part)]) {
			return done, errNotThePattern
		}
		done += len(part)
		c.n += int64(len(part))
	}
	return done, nil
}

// readPattern reads n bytes of the pattern, or to the end if n is negative. It returns how many came and the error
// that ended the stream, io.EOF included.
func readPattern(conn net.Conn, n int64, pace func(read int64)) (int64, error) {
	var check patternChecker
	buf := make([]byte, 16<<10)
	for n < 0 || check.n < n {
		want := buf
		if n >= 0 {
			want = buf[:min(int64(len(buf)), n-check.n)]
		}
		got, err := conn.Read(want)
		if _, err := check.Write(want[:got]); err != nil {
			return check.n, err
		}
		if err != nil {
			return check.n, err
		}
		if pace != nil {
			pace(check.n)
		}
	}
	return check.n, nil
}

// slowReader returns a pace for readPattern: 200 ms before the first call of readPattern, then 1 ms for each 16 KiB.
// This is the load under test, not a way to wait for something.
func slowReader() func(int64) {
	time.Sleep(200 * time.Millisecond)
	var slept int64
	return func(read int64) {
		for ; slept+16<<10 <= read; slept += 16 << 10 {
			time.Sleep(time.Millisecond)
		}
	}
}

// endOfStream is what Read returns after the peer closed in order: with close_notify io.EOF, and without it what the
// stack says of a bare FIN.
func endOfStream(s stack, closeNotify bool) error {
	if s.name == streamStack.name && !closeNotify {
		return tlsstream.ErrTruncated
	}
	return io.EOF
}
