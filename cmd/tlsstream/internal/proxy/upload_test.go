package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	torturebench "github.com/deferredtls/deferredtls/torture/bench"
)

var uploadRuns = flag.Int("upload.runs", 0, "runs for each row of the upload table; if zero, one, and of the control only one sure row for each client")

// uploadSlots bounds the uploads at once, and with them the number of client processes.
var uploadSlots = make(chan struct{}, 4)

// A row is one line of the table: an upload through a proxy to a plain backend that reads
// slowly.
type row struct {
	uploader uploader
	stock    bool // the control
	late     bool // the ticket comes when the client is busy writing
	size     int
}

func (r row) String() string {
	return fmt.Sprintf("late=%v/size=%dKiB/stock=%v", r.late, r.size>>10, r.stock)
}

// sure reports whether the control is to lose bytes in this row.
func (r row) sure() bool {
	return r.size >= 1<<20 && (r.late || !r.uploader.readsAhead) && !r.uploader.slow
}

// skip reports whether a short run leaves the row out.
func (r row) skip() bool {
	return *uploadRuns == 0 && r.stock && !(r.sure() && r.late && r.size == 1<<20)
}

// tlsConfig makes the ticket late as a slow check of a client's certificate does.
func (r row) tlsConfig() *tls.Config {
	config := testCA.ServerConfig()
	if r.late {
		config.ClientAuth = tls.RequestClientCert
		config.VerifyConnection = func(tls.ConnectionState) error {
			time.Sleep(300 * time.Millisecond)
			return nil
		}
	}
	return config
}

// A received is what a sink has got, and how it ended.
type received struct {
	bytes int
	whole bool // it is the pattern as far as it goes
	end   error
}

// sink reads one upload slowly: 200 ms of nothing, then 1 ms for each 16 KiB.
func sink(conn *net.TCPConn) received {
	defer conn.Close()
	time.Sleep(200 * time.Millisecond)
	var got []byte
	buf := make([]byte, 16<<10)
	for slept := 0; ; {
		n, err := conn.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			return received{len(got), slices.Equal(got, pattern(len(got))), err}
		}
		for ; slept+16<<10 <= len(got); slept += 16 << 10 {
			time.Sleep(time.Millisecond)
		}
	}
}

// once runs one upload.
func (r row) once(t *testing.T, upload upload) (received, error) {
	b, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return received{}, err
	}
	defer b.Close()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return received{}, err
	}
	if r.stock {
		defer front.Close()
		go torturebench.StockProxy(front, r.tlsConfig(), b.Addr().String(), 0)
	} else {
		config := testConfig(b.Addr().String())
		config.TLS = r.tlsConfig()
		s := New(config)
		defer func() {
			s.Stop()
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()
			if cut := s.Drain(ctx); cut > 0 {
				t.Errorf("%d connections did not end", cut)
			}
		}()
		go s.Serve(front)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	client := make(chan error, 1)
	go func() { client <- upload(ctx, front.Addr().(*net.TCPAddr).Port, r.size) }()
	var got received
	b.(*net.TCPListener).SetDeadline(time.Now().Add(testTimeout))
	if conn, err := b.Accept(); err != nil {
		got.end = err
	} else {
		got = sink(conn.(*net.TCPConn))
	}
	return got, <-client
}

func TestUploadsArriveWhole(t *testing.T) {
	report := &uploadReport{}
	t.Cleanup(func() { t.Log(report) })
	for _, uploader := range uploaders {
		t.Run(uploader.name, func(t *testing.T) {
			upload := uploader.prepare(t)
			for _, late := range []bool{false, true} {
				for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 8 << 20} {
					for _, stock := range []bool{true, false} {
						r := row{uploader, stock, late, size}
						if r.skip() {
							continue
						}
						t.Run(r.String(), func(t *testing.T) {
							t.Parallel()
							report.add(r, r.tally(t, upload))
						})
					}
				}
			}
		})
	}
}

// tally runs the row and returns the bytes that each run lost. The control must lose
// some where it is sure to; this package none, and what the backend sees of the end is
// what the client did.
func (r row) tally(t *testing.T, upload upload) []int {
	runs := *uploadRuns
	if runs == 0 {
		runs = 1
	}
	lost := make([]int, runs)
	var wg sync.WaitGroup
	for i := range lost {
		uploadSlots <- struct{}{}
		wg.Go(func() {
			defer func() { <-uploadSlots }()
			got, err := r.once(t, upload)
			lost[i] = r.size - got.bytes
			want := error(syscall.ECONNRESET)
			if r.uploader.closeNotify {
				want = io.EOF
			}
			if !r.stock && (lost[i] != 0 || !got.whole || err != nil || !errors.Is(got.end, want)) {
				t.Errorf("%d bytes lost, the rest is right: %v, the backend saw %v, want %v, the client says %v",
					lost[i], got.whole, got.end, want, err)
			}
		})
	}
	wg.Wait()
	if r.stock && r.sure() && 2*failed(lost) < runs {
		t.Errorf("blind: the control lost bytes in %d of %d runs only", failed(lost), runs)
	}
	return lost
}

func failed(lost []int) (n int) {
	for _, l := range lost {
		if l > 0 {
			n++
		}
	}
	return n
}

// An uploadReport gathers the rows into a table, which go test -v shows.
type uploadReport struct {
	mu    sync.Mutex
	lines []string
}

func (u *uploadReport) add(r row, lost []int) {
	slices.Sort(lost)
	u.mu.Lock()
	defer u.mu.Unlock()
	proxy := "tlsstream"
	if r.stock {
		proxy = "stock"
	}
	u.lines = append(u.lines, fmt.Sprintf("| %-16s | late=%-5v | %-9s | %5d KiB | %d/%d lost | median loss %d KiB |",
		r.uploader.name, r.late, proxy, r.size>>10, failed(lost), len(lost), lost[len(lost)/2]>>10))
}

func (u *uploadReport) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	slices.Sort(u.lines)
	return "uploads that lost bytes\n" + strings.Join(u.lines, "\n")
}

// A program that knows no TLS uploads to a stock TLS server, whose ticket comes late, and
// goes.
func TestUploadsToATLSBackendArriveWhole(t *testing.T) {
	for range 3 {
		const size = 4 << 20
		b := newBackend(t)
		config := originating(b.address())
		config.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1) // or there is no ticket
		client := start(t, config).dialPlain(t)
		go func() {
			client.Write(pattern(size))
			client.Close()
		}()
		conn := tls.Server(b.accept(), row{late: true}.tlsConfig())
		time.Sleep(200 * time.Millisecond) // the load under test: a slow backend
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, pattern(size)) {
			t.Errorf("%d bytes arrived of %d, %v", len(got), size, err)
		}
		conn.Close()
	}
}
