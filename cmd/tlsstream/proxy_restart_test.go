//go:build unix

package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"flag"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

var restartRounds = flag.Int("proxy.restarts", 2, "restarts of the proxy under load, each with a new certificate")

// countingBackend answers an upload with its length.
func countingBackend(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				n, err := io.Copy(io.Discard, conn)
				if err == nil {
					fmt.Fprint(conn, n)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// finish ends an upload of size bytes, and checks the answer.
func finish(conn *tls.Conn, size int) error {
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if string(answer) != strconv.Itoa(size) {
		return fmt.Errorf("the backend got %q of %d bytes", answer, size)
	}
	return nil
}

// A load is clients that upload without a pause.
type load struct {
	stop    chan struct{}
	clients sync.WaitGroup
	done    atomic.Int64

	mu       sync.Mutex
	failures []error // guarded by mu
	serials  []string
}

func startLoad(address string, ca *tlstest.CA, clients int) *load {
	l := &load{stop: make(chan struct{})}
	config := ca.ClientConfig()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(clients)
	for range clients {
		l.clients.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				serial, err := uploadOnce(address, config)
				l.mu.Lock()
				if err != nil {
					l.failures = append(l.failures, err)
				} else if !slices.Contains(l.serials, serial) {
					l.serials = append(l.serials, serial)
				}
				l.mu.Unlock()
				l.done.Add(1)
			}
		})
	}
	return l
}

func uploadOnce(address string, config *tls.Config) (serial string, err error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: processTimeout}, "tcp", address, config)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(processTimeout))
	const size = 64 << 10
	if _, err := conn.Write(bytes.Repeat([]byte("x"), size)); err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), finish(conn, size)
}

// goOn waits until n more uploads have ended.
func (l *load) goOn(p *proxyProcess, n int64) {
	p.t.Helper()
	want := l.done.Load() + n
	p.waitFor("more uploads", func() bool { return l.done.Load() >= want })
}

func (l *load) end() (done int64, failures []error) {
	close(l.stop)
	l.clients.Wait()
	return l.done.Load(), l.failures
}

// Restarts and new certificates lose no connection: none that is being carried, none
// that is in its handshake, none that is being made.
func TestProxyRestartsAndRenewsUnderLoad(t *testing.T) {
	ca := tlstest.NewCA()
	p := startProxy(t, ca, "127.0.0.1:0", countingBackend(t))
	l := startLoad(p.listen, ca, 4)
	for range *restartRounds {
		lasting, err := tls.Dial("tcp", p.listen, ca.ClientConfig())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(lasting, "before")
		l.goOn(p, 20)
		p.renew()
		l.goOn(p, 20)
		p.restart()
		l.goOn(p, 20)
		fmt.Fprint(lasting, "after")
		if err := finish(lasting, len("beforeafter")); err != nil {
			t.Errorf("a connection that the old process carried: %v", err)
		}
		lasting.Close()
	}
	done, failures := l.end()
	t.Logf("%d uploads over %d restarts and %d certificates, %d failed", done, *restartRounds, len(l.serials), len(failures))
	for _, err := range failures {
		t.Error(err)
	}
	if len(l.serials) <= *restartRounds {
		t.Errorf("blind: the clients saw %d certificates", len(l.serials))
	}
	if status := <-p.exited; status != 0 {
		t.Errorf("the first process ended with %d", status)
	}
}

// The control: stopping the program, and starting it at the same address, refuses
// connections in between.
func TestProxyStoppedAndStartedRefuses(t *testing.T) {
	ca, backend := tlstest.NewCA(), countingBackend(t)
	p := startProxy(t, ca, "127.0.0.1:0", backend)
	l := startLoad(p.listen, ca, 4)
	l.goOn(p, 20)
	syscall.Kill(p.pid(), syscall.SIGTERM)
	if status := <-p.exited; status != 0 {
		t.Errorf("the first process ended with %d", status)
	}
	again := startProxy(t, ca, p.listen, backend)
	l.goOn(again, 20)
	if _, failures := l.end(); len(failures) == 0 {
		t.Error("blind: no connection was refused")
	}
}

// A new program that does not come up changes nothing.
func TestProxyGoesOnIfTheRestartFails(t *testing.T) {
	ca := tlstest.NewCA()
	p := startProxy(t, ca, "127.0.0.1:0", countingBackend(t))
	old := p.pid()
	if err := syscall.Unlink(p.dir + "/server.pem"); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(old, syscall.SIGUSR2)
	p.waitFor("the failure", func() bool { return bytes.Contains([]byte(p.log()), []byte("did not come up, this one goes on")) })
	if _, err := uploadOnce(p.listen, ca.ClientConfig()); err != nil || p.pid() != old {
		t.Errorf("the old process does not go on: %v", err)
	}
}
