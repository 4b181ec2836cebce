package tlsstream_test

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A wiretap is a transport that keeps what is written to it, write by write.
type wiretap struct {
	net.Conn

	mu     sync.Mutex
	writes [][]byte // guarded by mu
}

func (r *wiretap) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, slices.Clone(p))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

func (r *wiretap) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (r *wiretap) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.writes)
}

// A sentRecord is a record of the application epoch, as the peer opens it.
type sentRecord struct {
	Write   int // which of the transport's writes has its end
	Type    byte
	Content []byte
}

// sent opens all records of the application epoch that were written. Those before
// are of the handshake, and do not open.
func (r *wiretap) sent(t testing.TB, epoch *ticketdefer.Epoch) (records []sentRecord) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var stream []byte
	for write, p := range r.writes {
		stream = append(stream, p...)
		for len(stream) >= 5 {
			n := 5 + int(stream[3])<<8 + int(stream[4])
			if len(stream) < n {
				break
			}
			record := stream[:n]
			stream = stream[n:]
			contentType, content, err := epoch.Open(nil, record)
			if err != nil {
				if len(records) > 0 {
					t.Fatalf("a record of write %d does not open behind %v", write, records)
				}
				continue
			}
			records = append(records, sentRecord{write, contentType, content})
			const keyUpdate = 24
			if contentType == typeHandshake && content[0] == keyUpdate {
				if err := epoch.Update(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return records
}
