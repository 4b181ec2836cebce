package tlsstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	utls "github.com/refraction-networking/utls"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/utlspeer"
)

// An uploader is a client that writes the pattern and closes. It never reads.
type uploader struct {
	name        string
	closeNotify bool
	prepare     func(*testing.T) upload
	// sure tells the rows in which stock crypto/tls loses bytes in at least 49 of 50 runs.
	sure func(row) bool
}

type upload func(ctx context.Context, id *identity, port string, auth bool, size int) error

// A row is one line of a table.
type row struct {
	uploader uploader
	stack    stack
	size     int
	slow     bool // the server's reader
	auth     bool // the server asks for a client certificate, and gets one
	tickets  bool
}

func (r row) String() string {
	return fmt.Sprintf("reader=%s/auth=%v/size=%s/stack=%s", r.reader(), r.auth, sizeName(r.size), r.stack.name)
}

func (r row) reader() string {
	if r.slow {
		return "slow"
	}
	return "fast"
}

func sizeName(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%dMiB", n>>20)
	}
	return fmt.Sprintf("%dKiB", n>>10)
}

// skip reports whether a short run leaves the row out: it is the control's, and would prove nothing.
func (r row) skip() bool {
	return *realRuns == 0 && r.stack.name == stockStack.name && !r.uploader.sure(r)
}

// An outcome is what became of one upload.
type outcome struct {
	received int64
	end      error // how the stream ended for the server
	client   error // what the client thinks
}

// once runs the row's upload over one new connection.
func (r row) once(ctx context.Context, id *identity, upload upload) outcome {
	ctx, cancel := context.WithTimeout(ctx, realTimeout)
	defer cancel()
	config := id.serverConfig(r.auth)
	config.SessionTicketsDisabled = !r.tickets
	server, err := serve(ctx, r.stack, config, nil)
	if err != nil {
		return outcome{end: err}
	}
	client := make(chan error, 1)
	go func() {
		client <- upload(ctx, id, server.port, r.auth, r.size)
		server.stop() // a failed client leaves it waiting
	}()
	var o outcome
	if conn, err := server.handshake(); err != nil {
		o.end = err
	} else {
		var pace func(int64)
		if r.slow {
			pace = slowReader()
		}
		o.received, o.end = readPattern(conn, -1, pace)
		conn.Close()
	}
	o.client = <-client
	return o
}

// tally runs the row, and returns the bytes that each run lost. Our stacks must lose none; the control must, where it
// is sure to.
func (r row) tally(t *testing.T, id *identity, upload upload) []int {
	runs := *realRuns
	if runs == 0 {
		runs = 2
	}
	outcomes := make([]outcome, runs)
	var wg sync.WaitGroup
	for i := range outcomes {
		realSlots <- struct{}{}
		wg.Go(func() {
			defer func() { <-realSlots }()
			outcomes[i] = r.once(t.Context(), id, upload)
		})
	}
	wg.Wait()

	var lost []int
	failed := 0
	for _, o := range outcomes {
		missing := r.size - int(o.received)
		lost = append(lost, missing)
		if missing > 0 {
			failed++
		}
		if r.stack.name == stockStack.name {
			continue
		}
		if missing > 0 || o.client != nil || !errors.Is(o.end, endOfStream(r.stack, r.uploader.closeNotify)) {
			t.Errorf("%d bytes lost, the stream ended with %q, the client says %v", missing, o.end, o.client)
		}
	}
	if r.stack.name == stockStack.name && r.uploader.sure(r) && failed < (runs+1)/2 {
		t.Errorf("blind: the control lost bytes in %d of %d runs only", failed, runs)
	}
	return lost
}

func TestUploadsArriveWhole(t *testing.T) {
	id := newIdentity(t, smallClient)
	report := newUploadReport(t)
	for _, uploader := range uploaders {
		t.Run(uploader.name, func(t *testing.T) {
			upload := uploader.prepare(t)
			for _, slow := range []bool{false, true} {
				for _, auth := range []bool{false, true} {
					for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 8 << 20} {
						for _, stack := range realStacks {
							r := row{uploader: uploader, stack: stack, size: size, slow: slow, auth: auth, tickets: true}
							if r.skip() {
								continue
							}
							t.Run(r.String(), func(t *testing.T) {
								t.Parallel()
								report.add(r, r.tally(t, id, upload))
							})
						}
					}
				}
			}
		})
	}
}

// A crypto/tls client reads the kernel's buffer empty in its handshake, and with it a ticket that came in the server's
// first flight. The ticket is late, and lies unread, if it has to wait for a client certificate.
var uploaders = []uploader{
	{name: "openssl", sure: slowAndLarge, prepare: uploadPeer("openssl")},
	{name: "openssl-shutdown", closeNotify: true, sure: slowAndLarge, prepare: uploadPeer("openssl", "write", "SIZE", "shutdown")},
	{name: "gnutls", sure: slowAndLarge, prepare: uploadPeer("gnutls")},
	{name: "python", sure: slowAndLarge, prepare: uploadPython},
	{name: "go", closeNotify: true, sure: slowLargeAndAuth, prepare: func(*testing.T) upload { return uploadGo }},
	{name: "utls", closeNotify: true, sure: slowLargeAndAuth, prepare: func(*testing.T) upload { return uploadUTLS }},
}

func slowAndLarge(r row) bool     { return r.slow && r.size >= 1<<20 }
func slowLargeAndAuth(r row) bool { return slowAndLarge(r) && r.auth }

// uploadPeer runs the C client with operations in which SIZE stands for the size; without any, it just writes.
func uploadPeer(library string, ops ...string) func(*testing.T) upload {
	if len(ops) == 0 {
		ops = []string{"write", "SIZE"}
	}
	return func(t *testing.T) upload {
		program := peer(t, library)
		return func(ctx context.Context, id *identity, port string, auth bool, size int) error {
			args := id.peerArgs(port, auth)
			for _, op := range ops {
				if op == "SIZE" {
					op = strconv.Itoa(size)
				}
				args = append(args, op)
			}
			return run(ctx, program, args...)
		}
	}
}

func uploadPython(t *testing.T) upload {
	python := pythonPath(t)
	return func(ctx context.Context, id *identity, port string, auth bool, size int) error {
		args := []string{"testdata/upload.py", port, id.caFile, strconv.Itoa(size)}
		if auth {
			args = append(args, id.certFile, id.keyFile)
		}
		return run(ctx, python, args...)
	}
}

// uploadGo has a session cache: without one crypto/tls asks for no tickets, and the test would be vacuous.
func uploadGo(ctx context.Context, id *identity, port string, auth bool, size int) error {
	config := id.ca.ClientConfig()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	if auth {
		config.Certificates = []tls.Certificate{id.cert}
	}
	return writeAndClose(ctx, port, size, func(conn net.Conn) net.Conn { return tls.Client(conn, config) })
}

// uploadUTLS looks like Chrome, which always asks for tickets.
func uploadUTLS(ctx context.Context, id *identity, port string, auth bool, size int) error {
	config := id.ca.ClientConfig()
	if auth {
		config.Certificates = []tls.Certificate{id.cert}
	}
	return writeAndClose(ctx, port, size, func(conn net.Conn) net.Conn {
		return utlspeer.Client(conn, config, utls.HelloChrome_Auto)
	})
}

func writeAndClose(ctx context.Context, port string, size int, client func(net.Conn) net.Conn) error {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := client(raw)
	if _, err := conn.Write(pattern(size)); err != nil {
		conn.Close()
		return err
	}
	return conn.Close()
}

// pythonPath resolves the shims that version managers put in PATH: they cost more than the upload.
func pythonPath(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(tlstest.Program(t, "python3"), "-c", "import ssl, sys; print(sys.executable)").Output()
	if err != nil {
		tlstest.Missing(t, "python3: %v", err)
	}
	return string(bytes.TrimSpace(out))
}
