package bench

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// endpointVariable names the environment variable that makes a process an endpoint. Its value is the folder with the
// certificates.
const endpointVariable = "TLSSTREAM_BENCH_ENDPOINT"

// sliceTimeout bounds what a slice, or making a connection, may take. Both take milliseconds.
const sliceTimeout = 20 * time.Second

// Endpoint makes this process one end of the connections that are measured, and does not return, if [Run] has started
// it for that. A program that calls Run calls Endpoint first thing in main, and a test in TestMain, with all stacks of
// its own that its plans name.
func Endpoint(stacks ...Stack) {
	dir, ok := os.LookupEnv(endpointVariable)
	if !ok {
		return
	}
	// An interrupt from a terminal goes to all processes in front of it; the conductor ends this one.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	err := serve(os.Stdin, os.Stdout, dir, append([]Stack{Stdlib(), plain()}, append(Stacks(), stacks...)...))
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: endpoint: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve answers requests to their end. What is under way then ends with the process.
func serve(in io.Reader, out io.Writer, dir string, stacks []Stack) error {
	e := &endpoint{stacks: stacks, lanes: make(map[int]*lane)}
	if err := e.load(dir); err != nil {
		return err
	}
	lines, ended := make(chan string), make(chan error, 1)
	go func() {
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		ended <- scanner.Err()
	}()
	answers := make(chan reply)
	encoder := json.NewEncoder(out)
	for {
		select {
		case err := <-ended:
			return err
		case line := <-lines:
			r, err := parseRequest(line)
			if err != nil {
				return fmt.Errorf("%q: %w", line, err)
			}
			go func() { answers <- e.answer(r) }()
		case a := <-answers:
			if err := encoder.Encode(a); err != nil {
				return err
			}
		}
	}
}

// An endpoint has one end of lanes.
type endpoint struct {
	stacks []Stack
	lanes  map[int]*lane
	roots  *x509.CertPool
	cert   tls.Certificate
}

func (e *endpoint) load(dir string) error {
	root, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	e.roots = x509.NewCertPool()
	if !e.roots.AppendCertsFromPEM(root) {
		return errors.New("no certificate authority")
	}
	e.cert, err = tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
	return err
}

func (e *endpoint) answer(r request) (a reply) {
	var err error
	switch r.op {
	case opListen:
		a.Port, err = e.listen(r)
	case opAccept:
		err = e.more(r, e.accept)
	case opDial:
		err = e.more(r, e.dial)
	case opTerminate:
		a.Port, err = e.terminate(r)
	case opRun, opStart:
		l := e.lane(r)
		err = l.start(r)
		if err == nil && r.op == opRun {
			a, err = l.finish()
		}
	case opFinish:
		a, err = e.lane(r).finish()
	case opIdle:
		e.lane(r).beIdle(r.size)
	case opExchange:
		err = e.lane(r).exchange(r.conns, r.size)
	case opMemory:
		a.memory = memoryInUse()
	case opDrop:
		e.lane(r).close()
		delete(e.lanes, r.lane)
	default:
		err = fmt.Errorf("unknown operation %q", r.op)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (e *endpoint) lane(r request) *lane {
	l := e.lanes[r.lane]
	if l == nil {
		l = &lane{kind: r.kind, timeout: sliceTimeout}
		e.lanes[r.lane] = l
	}
	return l
}

func (e *endpoint) stack(name string) (Stack, error) {
	i := slices.IndexFunc(e.stacks, func(s Stack) bool { return s.Name == name })
	if i < 0 {
		return Stack{}, fmt.Errorf("this program has no stack %q", name)
	}
	return e.stacks[i], nil
}

func (e *endpoint) listen(r request) (port int, err error) {
	l := e.lane(r)
	stack, err := e.stack(r.stack)
	if err != nil {
		return 0, err
	}
	l.server = true
	config := &tls.Config{Certificates: []tls.Certificate{e.cert}}
	l.wrap = func(conn net.Conn) Conn { return stack.Server(conn, config) }
	l.listener, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	return l.listener.Addr().(*net.TCPAddr).Port, nil
}

// terminate carries connections until the process ends.
func (e *endpoint) terminate(r request) (port int, err error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	go StockProxy(l, &tls.Config{Certificates: []tls.Certificate{e.cert}}, fmt.Sprintf("127.0.0.1:%d", r.port), 0)
	return l.Addr().(*net.TCPAddr).Port, nil
}

// more makes connections with their handshakes, one after the other, and leaves them in the lane.
func (e *endpoint) more(r request, connect func(request, *lane) error) error {
	l := e.lane(r)
	defer l.watch()()
	for range r.conns {
		if err := connect(r, l); err != nil {
			err = l.explain(err)
			l.close() // the other end notices
			return err
		}
	}
	return nil
}

func (e *endpoint) accept(_ request, l *lane) error {
	c, err := l.accept()
	if err != nil {
		return err
	}
	_, err = c.tls.Write([]byte{1}) // it brings the ticket
	return err
}

func (e *endpoint) dial(r request, l *lane) error {
	if l.wrap == nil {
		stack, err := e.stack(r.stack)
		if err != nil {
			return err
		}
		config := &tls.Config{RootCAs: e.roots, ServerName: "localhost", ClientSessionCache: forgetful{}}
		if l.kind == handshakeResumed {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		l.wrap = func(conn net.Conn) Conn { return stack.Client(conn, config) }
		l.port = r.port
	}
	c, err := l.dial()
	if err != nil {
		return err
	}
	_, err = io.ReadFull(c.tls, make([]byte, 1))
	return err
}

// forgetful makes a client ask for tickets, as one with a cache does, and use none.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}
