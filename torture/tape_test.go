package torture

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// moodyWriter is a transport whose Write accepts no more than a number of bytes.
type moodyWriter struct {
	net.Conn
	accepts int
}

func (w *moodyWriter) Write(p []byte) (int, error) {
	n := min(w.accepts, len(p))
	w.accepts -= n
	if n < len(p) {
		return n, errors.New("moody")
	}
	return n, nil
}

func (w *moodyWriter) Close() error { return nil }

// taped returns the client's transport of a new tape.
func taped(accepts int) (*tape, metered) {
	tape := newTape()
	client := newMetered(&moodyWriter{accepts: accepts}, 0)
	tape.connect(client, newMetered(&moodyWriter{}, 0))
	return tape, client
}

// plain is an alert without protection, padded to n bytes.
func plain(n int) []byte {
	record := make([]byte, n)
	copy(record, []byte{typeAlert, 3, 3, byte((n - headerBytes) >> 8), byte(n - headerBytes)})
	return record
}

// wire is what a tape says of records, in short.
func wire(events Transcript) (list []string) {
	for _, e := range events {
		if e.Kind == EventRecord {
			list = append(list, fmt.Sprintf("%s %d flight %d %s", e.Inner, e.Bytes, e.Flight, e.Text))
		}
	}
	return list
}

func TestTapeCutsWhateverIsWrittenIntoRecords(t *testing.T) {
	stream := slices.Concat(plain(7), plain(5), plain(300))
	want := []string{"alert close_notify 7", "opaque 5", "opaque 300"}
	for size := 1; size <= len(stream); size++ {
		tape, client := taped(len(stream))
		for chunk := range slices.Chunk(stream, size) {
			client.Write(chunk)
		}
		tape.stop()
		var got []string
		for _, e := range tape.transcript() {
			if e.Kind == EventRecord { // on a busy machine a write may count as one that stood still
				got = append(got, fmt.Sprintf("%s %d", e.Inner, e.Bytes))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("written in pieces of %d bytes (-want +got):\n%s", size, diff)
		}
	}
}

func TestTapeForgetsWhatTheTransportRefused(t *testing.T) {
	tape, client := taped(10)
	if n, err := client.Write(slices.Concat(plain(7), plain(7), plain(7))); n != 10 || err == nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	// The stack goes on where it was.
	client.(meteredConn).Conn.(*moodyWriter).accepts = 100
	client.Write(slices.Concat(plain(7)[3:], plain(7)))
	tape.stop()
	want := []string{"alert close_notify 7 flight 1 ", "alert close_notify 7 flight 2 ", "alert close_notify 7 flight 2 "}
	if diff := cmp.Diff(want, wire(tape.transcript())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTapeSaysWhatItCannotRead(t *testing.T) {
	for _, test := range []struct {
		name   string
		stream []byte
		want   []string
	}{
		{"half a record", plain(100)[:50], []string{"opaque 100 flight 1 cut short"}},
		{"half a header", plain(100)[:3], []string{"opaque 0 flight 1 cut short"}},
		{"no TLS", []byte("GET / HTTP/1.1\r\n\r\n"), []string{"opaque 18 flight 1 no TLS records, or too many"}},
		{"no TLS behind a record", append(plain(7), "hello, world"...),
			[]string{"alert close_notify 7 flight 1 ", "opaque 12 flight 1 no TLS records, or too many"}},
		{"no key", append([]byte{typeApplicationData, 3, 3, 0, 40}, make([]byte, 40)...), []string{"opaque 45 flight 1 "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tape, client := taped(len(test.stream))
			client.Write(test.stream)
			tape.stop()
			if diff := cmp.Diff(test.want, wire(tape.transcript())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTapeIsBounded(t *testing.T) {
	tape, client := taped(1 << 40)
	big := plain(maxPlaintext)
	for range 3 * tapeBytes / len(big) {
		client.Write(big)
	}
	if kept := len(tape.sides[tapeClient].kept); kept > tapeBytes {
		t.Errorf("keeps %d bytes of large records", kept)
	}
	client.Write(plain(100))
	last := tape.entries[len(tape.entries)-1]
	if !last.kept {
		t.Error("does not keep a small record behind many large ones, though it may be a KeyUpdate")
	}
	for range 2 * tapeEntries {
		client.Write(plain(300))
	}
	if kept := len(tape.sides[tapeClient].kept); kept > 2*tapeBytes || len(tape.entries) > tapeEntries {
		t.Errorf("keeps %d bytes and %d entries", kept, len(tape.entries))
	}
}

func TestTapePassesKeysOnAndWipesThem(t *testing.T) {
	var log bytes.Buffer
	config := &tls.Config{KeyLogWriter: &log}
	tape := newTape()
	tape.tap(config)
	line := []byte("SERVER_TRAFFIC_SECRET_0 00ff 0102\n")
	if n, err := config.KeyLogWriter.Write(line); n != len(line) || err != nil || !bytes.Equal(log.Bytes(), line) {
		t.Errorf("the config's own key log got %q, %v", log.Bytes(), err)
	}
	secret := tape.secrets[secretID{"SERVER_TRAFFIC_SECRET_0", "00ff"}]
	if !bytes.Equal(secret, []byte{1, 2}) {
		t.Fatalf("the tape has %x", secret)
	}
	tape.stop()
	tape.wipe()
	if !bytes.Equal(secret, []byte{0, 0}) || tape.secrets != nil {
		t.Errorf("%x is left, and %d secrets", secret, len(tape.secrets))
	}
	config.KeyLogWriter.Write(line)
	if tape.secrets != nil {
		t.Error("a tape that has been stopped takes keys")
	}
}

// What becomes of a close is known only from what the peer sees later.
func TestCloseIsToldByWhatThePeerSaw(t *testing.T) {
	for _, test := range []struct {
		name   string
		unread int
		saw    error
		want   Event
	}{
		{"FIN", 0, nil, Event{Side: "client", Kind: EventFIN, Text: "closes"}},
		{"RST", 9, syscall.ECONNRESET, Event{Side: "client", Kind: EventRST, Bytes: 9, Text: "closes with 9 bytes unread"}},
		{"nobody looked", 9, nil, Event{Side: "client", Kind: EventClose, Bytes: 9, Text: "closes with 9 bytes unread; the peer no longer looks"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tape, client := taped(0)
			tape.sides[tapeServer].written = int64(test.unread)
			client.Close()
			client.Close() // a side that ends closes once more
			tape.hasRead(tapeServer, 0, test.saw)
			tape.stop()
			if diff := cmp.Diff(Transcript{test.want}, tape.transcript(), cmpopts.IgnoreFields(Event{}, "At")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
