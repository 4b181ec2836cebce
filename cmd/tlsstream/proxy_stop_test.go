//go:build unix

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// openUpload connects through the proxy, and begins an upload.
func openUpload(t *testing.T, p *proxyProcess) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", p.listen, p.ca.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprint(conn, "begun")
	return conn
}

// A program that stops refuses new connections at once, and lets those that it has end.
func TestProxyThatStopsRefusesAndDrains(t *testing.T) {
	p := startProxy(t, tlstest.NewCA(), "127.0.0.1:0", countingBackend(t))
	conn := openUpload(t, p)
	syscall.Kill(p.pid(), syscall.SIGTERM)
	p.waitFor("a refusal", func() bool {
		another, err := net.Dial("tcp", p.listen)
		if err == nil {
			another.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	fmt.Fprint(conn, "ended")
	if err := finish(conn, len("begunended")); err != nil {
		t.Error(err)
	}
	if status := <-p.exited; status != 0 {
		t.Errorf("the program ended with %d", status)
	}
}

// What does not end in time is cut, as an error, and the exit status says so.
func TestProxyCutsWhatDoesNotEnd(t *testing.T) {
	p := startProxy(t, tlstest.NewCA(), "127.0.0.1:0", countingBackend(t), "--drain-timeout", "100ms")
	conn := openUpload(t, p)
	syscall.Kill(p.pid(), syscall.SIGINT)
	n, err := io.Copy(io.Discard, conn)
	if alert, ok := errors.AsType[*net.OpError](err); !ok || alert.Op != "remote error" {
		t.Errorf("%d bytes and %v, want an alert", n, err)
	}
	conn.Close()
	if status := <-p.exited; status != exitCut {
		t.Errorf("the program ended with %d, want %d", status, exitCut)
	}
}
