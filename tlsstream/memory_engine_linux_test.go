package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// An event loop with idle engines takes 0.6 of the memory of what crypto/tls needs to serve
// the same connections: a net.Conn and a goroutine that reads for each.
func TestIdleEnginesTakeLessThanGoroutines(t *testing.T) {
	const limit = 0.6
	n := fleetSize(t, 500, 5000)
	stock := residentMemory(n, func(n int) func() { return serveWithGoroutines(t, n) })
	engines := residentMemory(n, func(n int) func() { return serveWithEngines(t, n) })
	ratio := float64(engines.total()) / float64(stock.total())
	t.Logf("%d idle connections, for each: %+v with engines, %+v with crypto/tls: %.2f", n, engines, stock, ratio)
	if ratio > limit {
		t.Errorf("an idle engine takes %.2f of what a connection of crypto/tls with its goroutine takes, want %.2f at most", ratio, limit)
	}
}

// A record of five bytes, or two, would be as long as a KeyUpdate's or an alert's: it is
// opened, and the cipher stays.
var hello = []byte("data")

// serveWithGoroutines serves n clients as servers in Go do.
func serveWithGoroutines(t *testing.T, n int) (end func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, config := engineConfigs()
	conns := make([]net.Conn, n)
	ended := make(chan struct{}, n)
	accepted := make(chan error, 1)
	go func() {
		for i := range conns {
			conn, err := l.Accept()
			if err != nil {
				accepted <- err
				return
			}
			c := tls.Server(conn, config)
			conns[i] = conn
			go func() {
				echoUntilEnd(c)
				ended <- struct{}{}
			}()
		}
		accepted <- nil
	}()
	hangUp := silentClients(t, n, l.Addr().(*net.TCPAddr).Port)
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	l.Close()
	return func() {
		hangUp()
		for _, c := range conns {
			<-ended
			c.Close()
		}
	}
}

func echoUntilEnd(c net.Conn) {
	p := make([]byte, len(hello))
	for {
		if _, err := io.ReadFull(c, p); err != nil {
			return
		}
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}

// serveWithEngines serves n clients by one goroutine, which has an engine for each and waits
// for all in epoll.
func serveWithEngines(t *testing.T, n int) (end func()) {
	listener, port := listenRaw(t)
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	watch := func(fd int) error {
		return syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
	}
	if err := watch(listener); err != nil {
		t.Fatal(err)
	}
	_, config := engineConfigs()
	engines := make(map[int]*tlsstream.Engine, n)
	ended := make(chan error, 1)
	go func() {
		ended <- func() error {
			events, buf := make([]syscall.EpollEvent, 64), make([]byte, 32<<10)
			for served := 0; served < n; {
				got, err := syscall.EpollWait(poll, events, -1)
				if err != nil && err != syscall.EINTR {
					return err
				}
				for _, event := range events[:max(0, got)] {
					fd := int(event.Fd)
					if fd == listener {
						if fd, _, err = syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC); err != nil {
							return err
						}
						engines[fd] = tlsstream.NewServerEngine(config)
						if err := watch(fd); err != nil {
							return err
						}
						continue
					}
					more, err := serveEngine(fd, engines[fd], buf)
					if err != nil {
						return err
					}
					if !more {
						served++
						engines[fd].Close()
						syscall.Close(fd)
						delete(engines, fd)
					}
				}
			}
			return nil
		}()
	}()
	hangUp := silentClients(t, n, port)
	return func() {
		hangUp()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		syscall.Close(poll)
		syscall.Close(listener)
	}
}

// serveEngine reads what there is on fd, and echoes. It reports whether more may come.
func serveEngine(fd int, e *tlsstream.Engine, buf []byte) (more bool, err error) {
	n, err := syscall.Read(fd, buf)
	if err != nil || n == 0 {
		return false, nil // the client has hung up
	}
	if _, err := e.Feed(buf[:n]); err != nil {
		return false, err
	}
	for {
		n, err := e.Read(buf)
		if err != nil && err != tlsstream.ErrWantRead {
			return false, err
		}
		if n > 0 {
			if _, err := e.Write(buf[:n]); err != nil {
				return false, err
			}
		}
		if out, _ := e.Take(buf); out > 0 {
			if _, err := syscall.Write(fd, buf[:out]); err != nil {
				return false, err
			}
		}
		if err == tlsstream.ErrWantRead {
			return true, nil
		}
	}
}

func listenRaw(t *testing.T) (fd, port int) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 128)); err != nil {
		t.Fatal(err)
	}
	address, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, address.(*syscall.SockaddrInet4).Port
}

// silentClients makes clients that shake hands, send a message and wait for the answer. What
// stays of them is a descriptor.
func silentClients(t *testing.T, n, port int) (hangUp func()) {
	config, _ := engineConfigs()
	fds := make([]int, n)
	buf := make([]byte, 32<<10)
	for i := range fds {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
		if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		c := tlsstream.NewClientEngine(config)
		for got := 0; got == 0; {
			err := c.Handshake()
			if err == nil {
				_, err = c.Write(hello)
			}
			if err != nil && err != tlsstream.ErrWantRead {
				t.Fatal(err)
			}
			for {
				out, _ := c.Take(buf)
				if out == 0 {
					break
				}
				if _, err := syscall.Write(fd, buf[:out]); err != nil {
					t.Fatal(err)
				}
			}
			in, err := syscall.Read(fd, buf)
			if err != nil || in == 0 {
				t.Fatalf("the server has hung up: %v", err)
			}
			c.Feed(buf[:in])
			if c.ConnectionState().HandshakeComplete {
				got, _ = c.Read(buf)
			}
		}
		c.Close()
	}
	return func() {
		for _, fd := range fds {
			syscall.Close(fd)
		}
	}
}

func engineConfigs() (client, server *tls.Config) {
	client, server = ticketConfigs()
	cheap(client, server)
	return client, server
}
