package tlsstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

var drainRuns = flag.Int("drain.runs", 3, "uploads of our write-only client for each stock server and size")

var uploadSizes = []int{64 << 10, 1 << 20, 8 << 20}

// An uploadClient writes size bytes to addr and closes, and never reads.
type uploadClient func(addr string, size int) error

func writeOnly(c net.Conn, size int) error {
	c.SetDeadline(time.Now().Add(endPatience))
	_, err := c.Write(uploadData(size))
	return errors.Join(err, c.Close())
}

// oursUploads uploads with Dial, Write and Close of this package.
func oursUploads(o tlsstream.Options) uploadClient {
	return func(addr string, size int) error {
		d := &tlsstream.Dialer{Config: uploadConfig(), Options: o}
		c, err := d.DialStream(context.Background(), "tcp", addr)
		if err != nil {
			return err
		}
		return writeOnly(c, size)
	}
}

func stockUploads(addr string, size int) error {
	c, err := tls.Dial("tcp", addr, uploadConfig())
	if err != nil {
		return err
	}
	return writeOnly(c, size)
}

// uploadsAtOnce bounds the uploads of one test that run at the same time. They
// wait for slow servers for most of theirs.
const uploadsAtOnce = 3

// lost makes runs uploads and returns how many did not arrive whole, and of one of
// them, why.
func (s uploadSink) lost(t *testing.T, client uploadClient, size, runs int) (lost int, why error) {
	t.Helper()
	outcomes := make(chan error, runs)
	slots := make(chan struct{}, uploadsAtOnce)
	for range runs {
		slots <- struct{}{}
		addr, result := s.start(t)
		go func() {
			defer func() { <-slots }()
			err := client(addr, size)
			u := <-result
			if u.n == size && u.err == nil && err == nil {
				outcomes <- nil
				return
			}
			outcomes <- fmt.Errorf("%d of %d bytes arrived; the server's error: %v; the client's: %v", u.n, size, u.err, err)
		}()
	}
	for range runs {
		if err := <-outcomes; err != nil {
			lost, why = lost+1, err
		}
	}
	return lost, why
}

// What our client has written arrives, although it never reads the tickets of
// servers that do not defer them.
func TestWriteOnlyClientLosesNothingToStockServers(t *testing.T) {
	for _, sink := range uploadSinks() {
		for _, size := range uploadSizes {
			t.Run(fmt.Sprintf("%s/%d", sink.name, size), func(t *testing.T) {
				t.Parallel()
				if lost, why := sink.lost(t, oursUploads(tlsstream.Options{}), size, *drainRuns); lost > 0 {
					t.Errorf("%d of %d uploads lost bytes: %v", lost, *drainRuns, why)
				}
			})
		}
	}
}

// A file without bytes is a file: its end must arrive as one.
func TestEmptyUploadEndsInOrder(t *testing.T) {
	for _, sink := range uploadSinks()[:2] {
		t.Run(sink.name, func(t *testing.T) {
			if lost, why := sink.lost(t, oursUploads(tlsstream.Options{}), 0, *drainRuns); lost > 0 {
				t.Errorf("%d of %d uploads: %v", lost, *drainRuns, why)
			}
		})
	}
}

// CloseWrite, and CloseRead, change nothing in that.
func TestWriteOnlyClientMayShutDownInSteps(t *testing.T) {
	for name, life := range map[string]func(*tlsstream.Conn, []byte) error{
		"CloseWrite": func(c *tlsstream.Conn, data []byte) error {
			_, err := c.Write(data)
			return errors.Join(err, c.CloseWrite(), c.Close())
		},
		"CloseRead": func(c *tlsstream.Conn, data []byte) error {
			err := c.CloseRead()
			_, writeErr := c.Write(data)
			return errors.Join(err, writeErr, c.Close())
		},
		"CloseRead and CloseWrite": func(c *tlsstream.Conn, data []byte) error {
			err := c.CloseRead()
			_, writeErr := c.Write(data)
			return errors.Join(err, writeErr, c.CloseWrite(), c.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := func(addr string, size int) error {
				c, err := tlsstream.Dial("tcp", addr, uploadConfig())
				if err != nil {
					return err
				}
				return life(c, uploadData(size))
			}
			if lost, why := uploadSinks()[0].lost(t, client, 8<<20, *drainRuns); lost > 0 {
				t.Errorf("%d of %d uploads lost bytes: %v", lost, *drainRuns, why)
			}
		})
	}
}

// A server that acknowledges what it receives, as some log servers do, sends to a
// client that does not listen until the end.
func TestCloseReadLosesNothingToAcknowledgements(t *testing.T) {
	config := endCA.ServerConfig()
	sink := uploadSink{"acknowledges", func(t *testing.T) (string, <-chan uploaded) {
		return listeningSink(t, func(conn net.Conn) uploaded {
			server := tls.Server(conn, config)
			return slowly(readerFunc(func(p []byte) (int, error) {
				n, err := server.Read(p)
				if n > 0 {
					server.Write([]byte("+"))
				}
				return n, err
			}))
		})
	}}
	client := func(addr string, size int) error {
		d := &tlsstream.Dialer{Config: uploadConfig(), Options: tlsstream.Options{DropAfterCloseRead: true}}
		c, err := d.DialStream(context.Background(), "tcp", addr)
		if err != nil {
			return err
		}
		return errors.Join(c.CloseRead(), writeOnly(c, size))
	}
	if lost, why := sink.lost(t, client, 8<<20, *drainRuns); lost > 0 {
		t.Errorf("%d of %d uploads lost bytes: %v", lost, *drainRuns, why)
	}
	if lost, _ := sink.lost(t, stockUploads, 8<<20, 1); lost == 0 {
		t.Error("the control, which never reads, lost nothing")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The controls: a stock client, and ours with the drain off.
func TestWriteOnlyClientThatDoesNotDrainLosesItsUpload(t *testing.T) {
	for _, sink := range uploadSinks() {
		for name, client := range map[string]uploadClient{
			"stdlib":                 stockUploads,
			"tlsstream, not drained": oursUploads(tlsstream.Options{DrainTimeout: -1}),
		} {
			t.Run(sink.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				runs := (*drainRuns + 2) / 3 // they all lose
				lost, why := sink.lost(t, client, 8<<20, runs)
				t.Logf("%d of %d uploads lost bytes: %v", lost, runs, why)
				if lost == 0 {
					t.Error("nothing was lost, so TestWriteOnlyClientLosesNothingToStockServers proves nothing")
				}
			})
		}
	}
}
