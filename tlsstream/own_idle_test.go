package tlsstream_test

import (
	"crypto/tls"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// ownIdle is for the figure that matters. It takes some minutes of processor time:
//
//	go test ./tlsstream -run TestIdleOwnRecordsKeepFourKiB -own.idle 100000 -v -timeout 1h
var ownIdle = flag.Int("own.idle", 400, "idle endpoints with Options.OwnRecords in one process")

// idleBound is the most heap in bytes that an idle endpoint may keep.
const idleBound = 4 << 10

// An endpoint that is idle keeps at most 4 KiB of heap after 1 MiB each way, and no
// goroutine. Half of the endpoints are servers and half are clients without a session cache.
func TestIdleOwnRecordsKeepFourKiB(t *testing.T) {
	n := *ownIdle / 2
	serverConfig, clientConfig := testCA.ServerConfig(), testCA.ClientConfig()
	cheap(clientConfig, serverConfig)
	per := ownIdleHeap(t, &tlsstream.Options{OwnRecords: true}, clientConfig, serverConfig, n)
	if per > idleBound {
		t.Errorf("an idle endpoint keeps %d bytes of heap, of %d", per, 2*n)
	}
	t.Logf("%d idle endpoints: %d bytes of heap each", 2*n, per)
}

// The control, and what a session cache costs.
func TestIdleOwnRecordsKeepLessThanCryptoTLS(t *testing.T) {
	serverConfig := testCA.ServerConfig()
	without, with := testCA.ClientConfig(), testCA.ClientConfig()
	with.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	cheap(without, with, serverConfig)
	if *own {
		t.Skip("there is no control with -own")
	}
	const n = 50
	on := &tlsstream.Options{OwnRecords: true}
	stock := ownIdleHeap(t, &tlsstream.Options{}, without, serverConfig, n)
	ours := ownIdleHeap(t, on, without, serverConfig, n)
	cached := ownIdleHeap(t, on, with, serverConfig, n)
	t.Logf("bytes of heap for an idle endpoint: %d; with OwnRecords %d, or %d where clients have a session cache", stock, ours, cached)
	if stock < 2*idleBound {
		t.Errorf("the control is blind: an endpoint of crypto/tls keeps %d bytes", stock)
	}
	if cached > stock/2 {
		t.Errorf("with a session cache an endpoint keeps %d bytes, crypto/tls %d", cached, stock)
	}
}

// ownIdleHeap returns the heap that an endpoint keeps, of n pairs that have sent each other
// 1 MiB.
func ownIdleHeap(t *testing.T, o *tlsstream.Options, clientConfig, serverConfig *tls.Config, n int) int {
	t.Helper()
	big := randomBytes(1, 1<<20)
	wire, plain := make([]byte, 1<<20), make([]byte, 64<<10)
	pass := func(from, to *tlsstream.Engine) error {
		for from.Pending() > 0 {
			k, _ := from.Take(wire[:32<<10])
			for p := wire[:k]; len(p) > 0; {
				k, _ := to.Feed(p)
				p = p[k:]
				for {
					if _, err := to.Read(plain); err == tlsstream.ErrWantRead {
						break
					} else if err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	transfer := func(from, to *tlsstream.Engine) error {
		for p := big; len(p) > 0; {
			k, err := from.Write(p)
			if p = p[k:]; err != nil && err != tlsstream.ErrWantWrite {
				return err
			}
			if err := pass(from, to); err != nil {
				return err
			}
		}
		return nil
	}
	var engines []*tlsstream.Engine
	make1 := func() {
		client, server := o.ClientEngine(clientConfig), o.ServerEngine(serverConfig)
		joinEngines(t, client, server, everything)
		for _, err := range []error{transfer(client, server), transfer(server, client)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		engines = append(engines, client, server)
	}
	make1() // what is made once
	engines = make([]*tlsstream.Engine, 0, 2*n)
	bytes, goroutines := heapOf(func() func() {
		for i := range n {
			make1()
			if i%5000 == 4999 {
				fmt.Printf("%d endpoints\n", 2*(i+1))
			}
		}
		return func() {}
	})
	if goroutines > 0 {
		t.Errorf("%d goroutines for %d idle endpoints", goroutines, 2*n)
	}
	// Each still works.
	for _, e := range engines {
		if _, err := e.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		takeAll(e)
	}
	for _, p := range [][]byte{big, wire, plain} {
		runtime.KeepAlive(p)
	}
	for _, e := range engines {
		e.Close()
	}
	return bytes / (2 * n)
}

// A Read that waits on a socket holds no buffer, not even where a part of a record has come.
func TestOwnRecordsWaitWithoutABuffer(t *testing.T) {
	const n, piece = 40, 500
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	cheap(clientConfig, serverConfig)
	var log keyLog
	clientConfig.KeyLogWriter = &log
	var calls sync.WaitGroup
	readAhead := func(c secureConn) int { s, _ := tlsstream.StatsOf(c); return s.ReadAhead }
	bytes, _ := heapOf(func() func() {
		var conns []secureConn
		for range n {
			x, y := tlstest.TCPPair(t)
			client, server := ownStack.client(x, clientConfig), ownStack.server(y, serverConfig)
			if err := handshakeBoth(client, server); err != nil {
				t.Fatal(err)
			}
			record := log.epoch(t, "CLIENT", client.ConnectionState()).Seal(nil, typeData, make([]byte, 10_000))
			if _, err := x.Write(record[:piece]); err != nil {
				t.Fatal(err)
			}
			calls.Go(func() { server.Read(make([]byte, 1)) })
			for readAhead(server) < piece {
				runtime.Gosched()
			}
			conns = append(conns, client, server)
		}
		return func() {
			for _, c := range conns {
				c.NetConn().Close()
				c.Close()
			}
			calls.Wait()
		}
	})
	per := bytes / (2 * n)
	t.Logf("%d bytes of heap for an endpoint, of which half are blocked in Read", per)
	if per > 7<<10 { // it would be 9 KiB more with a buffer in each Read
		t.Errorf("%d bytes of heap for an endpoint", per)
	}
}
