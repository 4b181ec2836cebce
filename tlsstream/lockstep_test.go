package tlsstream_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
)

// smallReads is a transport whose Read returns at most size bytes.
type smallReads struct {
	net.Conn
	size int
}

func (c smallReads) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), c.size)]) }

// lockstepRun shakes hands, and sends a few bytes each way, over a pipe without
// any buffer, in a bubble: a deadlock ends at the deadline, which costs no time.
func lockstepRun(t *testing.T, s stack, size int, clientConfig, serverConfig *tls.Config) (deadlock bool, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var a, b net.Conn = membio.Pipe(membio.PipeOptions{})
		if size%2 == 0 {
			a, b = net.Pipe() // the other lockstep pipe
		}
		client := s.client(smallReads{a, size}, clientConfig)
		server := s.server(smallReads{b, size}, serverConfig)
		deadline := start.Add(time.Minute)
		client.SetDeadline(deadline)
		server.SetDeadline(deadline)
		done := make(chan error, 1)
		go func() {
			err := server.Handshake()
			if err == nil {
				err = exchange(server, false)
			}
			if err != nil {
				b.Close()
			}
			done <- err
		}()
		err = client.Handshake()
		if err == nil {
			err = exchange(client, true)
		}
		if err != nil {
			a.Close()
		}
		if serverErr := <-done; err == nil {
			err = serverErr
		}
		deadlock = !time.Now().Before(deadline)
		a.Close()
		b.Close()
		client.Close()
		server.Close()
	})
	return deadlock, err
}

// exchange sends a request one way and a response the other.
func exchange(c net.Conn, first bool) error {
	p := []byte("data")
	for i := range 2 {
		call := c.Read
		if first == (i == 0) {
			call = c.Write
		}
		if _, err := call(p); err != nil {
			return err
		}
	}
	return nil
}

// lockstepConfigs are configurations with a client certificate or without, which
// decides when the server sends its ticket.
func lockstepConfigs(auth bool) (client, server *tls.Config) {
	client, server = ticketConfigs()
	if auth {
		mutual(client, server)
	}
	return client, server
}

const maxReadSize = 2048

// Over a transport without any buffer, whatever pieces it delivers, neither end
// ever waits for the other to read what it has not asked for.
func TestLockstepNeverDeadlocks(t *testing.T) {
	t.Parallel()
	step := 1
	if underRace {
		step = 13
	}
	for _, auth := range []bool{false, true} {
		t.Run(fmt.Sprintf("mutual=%t", auth), func(t *testing.T) {
			t.Parallel()
			clientConfig, serverConfig := lockstepConfigs(auth)
			for size := 1; size <= maxReadSize; size += step {
				clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				for range 2 { // a full handshake, and a resumed one
					if _, err := lockstepRun(t, streamStack, size, clientConfig, serverConfig); err != nil {
						t.Errorf("read size %d: %v", size, err)
					}
				}
			}
		})
	}
}

// The control: crypto/tls on both ends deadlocks for most read sizes: all of them
// with a client certificate, and bands of them without.
func TestLockstepNeverDeadlocksControl(t *testing.T) {
	t.Parallel()
	runs, deadlocks := 0, map[bool]int{}
	for _, auth := range []bool{false, true} {
		clientConfig, serverConfig := lockstepConfigs(auth)
		for size := 1; size <= maxReadSize; size += 67 {
			clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			runs++
			if deadlock, _ := lockstepRun(t, stockStack, size, clientConfig, serverConfig); deadlock {
				deadlocks[auth]++
			}
		}
	}
	t.Logf("crypto/tls: %d runs, deadlocks with a client certificate or without: %v", runs, deadlocks)
	if deadlocks[true]+deadlocks[false] < runs/2 || deadlocks[false] == 0 {
		t.Errorf("the control is blind: %v of %d runs deadlock", deadlocks, runs)
	}
}
