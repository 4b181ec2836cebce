package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A moody transport times out at random, after any number of bytes, in the middle
// of calls too: a Read may bring bytes and a timeout together.
type moody struct {
	net.Conn

	mu     sync.Mutex
	random *rand.Rand // guarded by mu
}

// mood returns how many of n bytes pass, and whether a timeout follows.
func (m *moody) mood(n int) (pass int, timeout bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n == 0 || m.random.IntN(3) > 0 {
		return n, false
	}
	return m.random.IntN(n), true
}

func (m *moody) Write(p []byte) (int, error) {
	pass, timeout := m.mood(len(p))
	n, err := m.Conn.Write(p[:pass])
	if err == nil && timeout {
		runtime.Gosched()
		err = timeoutError{}
	}
	return n, err
}

func (m *moody) Read(p []byte) (int, error) {
	pass, timeout := m.mood(len(p))
	if timeout && pass%2 == 0 {
		runtime.Gosched()
		return 0, timeoutError{}
	}
	n, err := m.Conn.Read(p[:pass])
	if err == nil && timeout && n > 0 {
		err = timeoutError{}
	}
	return n, err
}

func (m *moody) CloseWrite() error { return m.Conn.(*membio.PipeConn).CloseWrite() }

// retry makes a call again until it does not time out.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// Whatever times out on either side, and wherever, in the handshake, in data, in
// close: the calls go on, and both streams arrive whole, with their ends.
func TestTimeoutsAnywhere(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			clientConfig, serverConfig := ticketConfigs()
			if seed%2 == 0 {
				mutual(clientConfig, serverConfig)
			}
			if seed%5 == 0 {
				clientConfig.MaxVersion = tls.VersionTLS12
			}
			side := func() membio.PipeSide {
				return membio.PipeSide{SendBuffer: random.IntN(5000), ReceiveBuffer: 1 + random.IntN(5000), MaxSegment: random.IntN(2000)}
			}
			a, b := membio.Pipe(membio.PipeOptions{A: side(), B: side(), Seed: seed})
			newRandom := func() *rand.Rand { return rand.New(rand.NewPCG(random.Uint64(), 0)) }
			client := tlsstream.Client(&moody{Conn: a, random: newRandom()}, clientConfig)
			server := tlsstream.Server(&moody{Conn: b, random: newRandom()}, serverConfig)
			defer client.Close()
			defer server.Close()

			var all sync.WaitGroup
			for i, s := range []struct{ from, to *tlsstream.Conn }{{client, server}, {server, client}} {
				want := randomBytes(seed*2+uint64(i), 300_000)
				writer := newRandom()
				all.Go(func() {
					if err := moodyWrite(s.from, want, writer); err != nil {
						t.Errorf("direction %d: writing: %v", i, err)
						a.Close()
					}
				})
				all.Go(func() {
					got, err := moodyRead(s.to)
					if err != nil {
						t.Errorf("direction %d: reading: %v", i, err)
						a.Close()
						return
					}
					if string(got) != string(want) {
						t.Errorf("direction %d: %d bytes of %d, or others", i, len(got), len(want))
					}
				})
			}
			all.Wait()
		})
	}
}

func moodyWrite(c *tlsstream.Conn, p []byte, random *rand.Rand) error {
	for len(p) > 0 {
		if random.IntN(4) == 0 {
			if err := retry(c.FlushTickets); err != nil {
				return fmt.Errorf("FlushTickets: %w", err)
			}
		}
		n, err := c.Write(p[:random.IntN(min(len(p), 90_000)+1)])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("Write: %w", err)
		}
		p = p[n:]
	}
	return retry(c.CloseWrite)
}

func moodyRead(c *tlsstream.Conn) (got []byte, err error) {
	p := make([]byte, 10_000)
	for {
		n, err := c.Read(p)
		got = append(got, p[:n]...)
		switch {
		case err == io.EOF:
			return got, nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return got, err
		}
	}
}
