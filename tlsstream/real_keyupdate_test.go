package tlsstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
)

// Stock crypto/tls answers KeyUpdate(update_requested) at once, and the answer is as unread as a ticket. Here the control
// has its tickets off, which is the known repair for lost uploads: against key updates it does not help.
func TestUploadsWithKeyUpdatesArriveWhole(t *testing.T) {
	id := newIdentity(t, smallClient)
	report := newUploadReport(t)
	uploaders := []uploader{
		{name: "update-first", sure: slowAndLarge, prepare: uploadPeer("openssl", "update", "write", "SIZE")},
		{name: "every-64KiB", sure: slowAndLarge, prepare: uploadPeer("openssl", "every", "65536", "write", "SIZE")},
		{name: "every-1MiB", sure: func(r row) bool { return r.slow && r.size > 1<<20 },
			prepare: uploadPeer("openssl", "every", "1048576", "write", "SIZE")},
	}
	for _, uploader := range uploaders {
		t.Run(uploader.name, func(t *testing.T) {
			upload := uploader.prepare(t)
			for _, slow := range []bool{false, true} {
				for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 8 << 20} {
					for _, stack := range realStacks {
						r := row{uploader: uploader, stack: stack, size: size, slow: slow, tickets: stack.name != stockStack.name}
						if r.skip() {
							continue
						}
						t.Run(r.String(), func(t *testing.T) {
							t.Parallel()
							report.add(r, r.tally(t, id, upload))
						})
					}
				}
			}
		})
	}
}

// The answers that were held, the ticket and what follows them must decrypt for a client that reads in the end.
func TestFirstWriteAfterKeyUpdatesDecrypts(t *testing.T) {
	id := newIdentity(t, smallClient)
	for _, library := range []string{"openssl", "gnutls"} {
		t.Run(library, func(t *testing.T) {
			program := peer(t, library)
			for _, every := range []int{300, 64 << 10, 256 << 10} {
				for _, stack := range ourStacks {
					t.Run(fmt.Sprintf("every=%d/stack=%s", every, stack.name), func(t *testing.T) {
						answerAfterUpload(t, peerRun{stack: stack, id: id, program: program,
							ops: fmt.Sprintf("every %d write 1000000 read 100000 every 0 write 5 read 10 shutdown eof", every)})
					})
				}
			}
		})
	}
}

// answerAfterUpload is the server of a client that uploads a megabyte, reads the answer, and has one more exchange, for
// which nothing is held any more.
func answerAfterUpload(t *testing.T, p peerRun) {
	ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
	defer cancel()
	server, client := p.start(ctx, t)
	conn, err := server.handshake()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := readPattern(conn, 1000000, nil); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	reply := pattern(100010)
	if _, err := conn.Write(reply[:100000]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(reply[100000:]); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-client; err != nil {
		t.Error(err)
	}
}
