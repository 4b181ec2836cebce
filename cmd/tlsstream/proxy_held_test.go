//go:build unix

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

var heldConnections = flag.Int("proxy.held", 200, "connections that the proxy holds at once, with peers that do not read")

const (
	// heldBytes is what each side of each connection sends: more than fits
	// in between, so that all are stuck.
	heldBytes = 256 << 10
	// heldBuffer is small, so that the proxy's memory is what fills, and not the
	// machine's.
	heldBuffer = 16 << 10
	// heldLimit is what a connection may cost in resident memory. Of 2,000 each had 80 KiB
	// on the heap, for what is read and not yet written, one way as plaintext and the
	// other sealed, too, and 20 KiB of stacks; and the Go runtime keeps nearly as
	// much again to collect garbage in.
	heldLimit = 256 << 10
)

// A heldPair is both ends of a connection through the proxy.
type heldPair struct{ front, back net.Conn }

// hold opens connections, one after the other.
func hold(t *testing.T, p *proxyProcess, l *net.TCPListener, n int) []heldPair {
	t.Helper()
	config := p.ca.ClientConfig()
	pairs := make([]heldPair, n)
	dialer := net.Dialer{Timeout: processTimeout}
	for i := range pairs {
		raw, err := dialer.Dial("tcp", p.listen)
		if err != nil {
			t.Fatal(err)
		}
		shrink(raw)
		front := tls.Client(raw, config)
		if err := front.Handshake(); err != nil {
			t.Fatal(err)
		}
		l.SetDeadline(time.Now().Add(processTimeout))
		back, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		shrink(back)
		t.Cleanup(func() { raw.Close(); back.Close() })
		pairs[i] = heldPair{front, back}
	}
	return pairs
}

func shrink(conn net.Conn) {
	conn.(*net.TCPConn).SetReadBuffer(heldBuffer)
	conn.(*net.TCPConn).SetWriteBuffer(heldBuffer)
}

// Many connections whose peers send, and do not read, are held in bounded memory, and end
// whole once they are read.
func TestProxyHoldsSlowPeersInBoundedMemory(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ca, n := tlstest.NewCA(), *heldConnections
	p := startProxy(t, ca, "127.0.0.1:0", l.Addr().String(), "--socket-buffer", fmt.Sprint(heldBuffer))
	const resident = "process_resident_memory_bytes"
	before := p.metric(resident)
	pairs := hold(t, p, l.(*net.TCPListener), n)
	idle := p.metric(resident)

	data := bytes.Repeat([]byte("0123456789abcdef"), heldBytes/16)
	var writers sync.WaitGroup
	failures := make(chan error, 4*n)
	send := func(conn interface {
		io.Writer
		CloseWrite() error
	}) {
		writers.Go(func() {
			if _, err := conn.Write(data); err != nil {
				failures <- err
			} else if err := conn.CloseWrite(); err != nil {
				failures <- err
			}
		})
	}
	for _, pair := range pairs {
		send(pair.front.(*tls.Conn))
		send(pair.back.(*net.TCPConn))
	}
	received := func() float64 {
		const name = "tlsstream_proxy_received_bytes_total"
		return p.metric(name+`{side="tls"}`) + p.metric(name+`{side="plain"}`)
	}
	last, since := -1.0, time.Now()
	p.waitFor("all to be stuck", func() bool {
		time.Sleep(100 * time.Millisecond)
		if now := received(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
	stuck := p.metric(resident)
	t.Logf("%d connections; resident: at start %.1f MiB, open and idle %.1f MiB (%.1f KiB each), stuck both ways %.1f MiB (%.1f KiB each); goroutines %.0f, Go heap in use %.1f MiB",
		n, before/(1<<20), idle/(1<<20), (idle-before)/1024/float64(n), stuck/(1<<20), (stuck-before)/1024/float64(n),
		p.metric("go_goroutines"), p.metric("go_memstats_heap_inuse_bytes")/(1<<20))
	if open := p.metric("tlsstream_proxy_connections"); open != float64(n) {
		t.Errorf("%v connections are open, want %d", open, n)
	}
	if last >= float64(n)*heldBytes*2 {
		t.Error("blind: everything has passed, and nothing is held")
	}
	if each := (stuck - before) / float64(n); each > heldLimit && !raceEnabled {
		t.Errorf("a connection costs %.0f bytes, want %d at most", each, heldLimit)
	}

	var readers sync.WaitGroup
	for _, pair := range pairs {
		for _, conn := range []net.Conn{pair.front, pair.back} {
			readers.Go(func() {
				conn.SetReadDeadline(time.Now().Add(2 * processTimeout))
				if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
					failures <- errors.Join(fmt.Errorf("%d bytes of %d arrived", len(got), heldBytes), err)
				}
			})
		}
	}
	writers.Wait()
	readers.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
}
