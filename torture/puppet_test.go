package torture

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
)

// The server is stock crypto/tls: what it reads without an error is a TLS 1.3 stream with KeyUpdates in it.
func TestPuppetSpeaksTLS(t *testing.T) {
	id, err := newIdentity(1)
	if err != nil {
		t.Fatal(err)
	}
	serverConfig, clientConfig := id.configs()
	serverConfig.SessionTicketsDisabled = true
	a, b := membio.Pipe(membio.PipeOptions{
		A: membio.PipeSide{SendBuffer: 1 << 20, ReceiveBuffer: 1 << 20},
		B: membio.PipeSide{SendBuffer: 1 << 20, ReceiveBuffer: 1 << 20},
	})
	sent := bytes.Repeat([]byte("puppet "), 10_000)
	failed := make(chan error, 1)
	allRead := make(chan struct{})
	go func() {
		defer a.Close()
		p := newPuppet(a, clientConfig)
		p.updateEvery = 1000
		if err := p.Handshake(); err != nil {
			failed <- err
			return
		}
		if _, err := p.Write(sent); err != nil {
			failed <- err
			return
		}
		<-allRead
		failed <- p.Close()
	}()
	defer b.Close()
	server := tls.Server(b, serverConfig)
	received := make([]byte, len(sent))
	if n, err := io.ReadFull(server, received); err != nil || !bytes.Equal(received, sent) {
		t.Errorf("received %d of %d bytes, then %v", n, len(sent), err)
	}
	const keyUpdateRecord, updates = 27, 70
	if got := a.Unread(); got != updates*keyUpdateRecord {
		t.Errorf("the server answered with %d bytes, want %d KeyUpdates of %d", got, updates, keyUpdateRecord)
	}
	close(allRead)
	if n, err := server.Read(received); n != 0 || err != io.EOF {
		t.Errorf("after close_notify: %d, %v", n, err)
	}
	if err := <-failed; err != nil {
		t.Errorf("the puppet: %v", err)
	}
}

// oneByteConn gives one byte at a time.
type oneByteConn struct{ net.Conn }

func (c oneByteConn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 1)]) }

func TestExactReaderStopsAtEachRecord(t *testing.T) {
	records := [][]byte{
		{22, 3, 3, 0, 3, 'a', 'b', 'c'},
		{23, 3, 3, 0, 0},
		append([]byte{23, 3, 3, 1, 0}, make([]byte, 256)...),
	}
	for _, chunked := range []bool{false, true} {
		a, b := membio.Pipe(membio.PipeOptions{A: membio.PipeSide{SendBuffer: 1 << 10}})
		for _, r := range records {
			a.Write(r)
		}
		a.Close()
		var transport net.Conn = b
		if chunked {
			transport = oneByteConn{b}
		}
		r := &exactReader{Conn: transport}
		buf := make([]byte, 1<<10)
		left := 0
		for _, record := range records {
			left += len(record)
		}
		for _, record := range records {
			var got []byte
			for len(got) < len(record) {
				n, err := r.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, buf[:n]...)
			}
			left -= len(record)
			if !bytes.Equal(got, record) || a.Unsent() != left {
				t.Errorf("read %d bytes of a record of %d, %d left of %d", len(got), len(record), a.Unsent(), left)
			}
		}
		if n, err := r.Read(buf); n != 0 || err != io.EOF {
			t.Errorf("after the last record: %d, %v", n, err)
		}
		b.Close()
	}
}
