package tlsstream_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// TestDeadlinesOverTCPLoseNothing writes against a slow reader with deadlines that pass
// again and again, in the middle of records and of slices: over a socket records leave by
// another way than over a pipe.
func TestDeadlinesOverTCPLoseNothing(t *testing.T) {
	for name, o := range map[string]tlsstream.Options{
		"plain":       {},
		"WriteBehind": {WriteBehind: 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, y := tlstest.TCPPair(t)
			x.SetWriteBuffer(64 << 10)
			y.SetReadBuffer(64 << 10)
			clientConfig, serverConfig := ticketConfigs()
			client, server := o.Client(x, clientConfig), tlsstream.Server(y, serverConfig)
			if err := handshakeBoth(client, server); err != nil {
				t.Fatal(err)
			}
			want := randomBytes(1, 1<<20)
			written := make(chan int, 1)
			go func() {
				defer client.Close()
				timeouts := 0
				for rest := want; len(rest) > 0; {
					client.SetWriteDeadline(time.Now().Add(2 * time.Millisecond))
					n, err := client.Write(rest[:min(len(rest), 300_000)])
					rest = rest[n:]
					if errors.Is(err, os.ErrDeadlineExceeded) {
						timeouts++
					} else if err != nil {
						t.Error(err)
						break
					}
				}
				client.SetWriteDeadline(time.Time{})
				written <- timeouts
			}()
			var got bytes.Buffer
			for buf := make([]byte, 20_000); ; {
				n, err := server.Read(buf)
				got.Write(buf[:n])
				if err != nil {
					if err != io.EOF {
						t.Error(err)
					}
					break
				}
				if got.Len()%(1<<18) < 20_000 {
					time.Sleep(10 * time.Millisecond) // the reader is slow; nothing waits for this
				}
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%d bytes arrived of %d, or others", got.Len(), len(want))
			}
			if timeouts := <-written; timeouts == 0 {
				t.Error("no deadline has passed: this has tested nothing")
			}
		})
	}
}
