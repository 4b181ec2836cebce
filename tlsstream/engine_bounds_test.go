package tlsstream_test

import (
	"errors"
	"io"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

const (
	inputLimit = 66_580   // what Feed documents
	writeLimit = 64 << 10 // what Write documents, "about"
)

// Feed takes no more than its limit, says so, and goes on once Read has made room.
func TestFeedIsBounded(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	client, server := newEngines(t, clientConfig, serverConfig, everything)

	want := randomBytes(1, 1<<20)
	var stream []byte
	for rest := want; len(rest) > 0; {
		n, err := client.Write(rest)
		if err != nil && err != tlsstream.ErrWantWrite {
			t.Fatal(err)
		}
		rest = rest[n:]
		stream = append(stream, takeAll(client)...)
	}
	var got []byte
	for len(stream) > 0 {
		before := server.Stats().ReadAhead
		n, err := server.Feed(stream)
		if after := server.Stats().ReadAhead; after != before+n || after > inputLimit {
			t.Fatalf("Feed took %d bytes; %d wait, %d did before", n, after, before)
		}
		stream = stream[n:]
		if len(stream) > 0 && !errors.Is(err, tlsstream.ErrInputFull) {
			t.Fatalf("Feed took %d bytes of more, and returned %v", n, err)
		}
		if n, err := server.Feed(stream); err == nil && len(stream) > 0 || n != 0 {
			t.Fatalf("Feed into a full engine: %d, %v", n, err)
		}
		part, err := readReady(server)
		if err != tlsstream.ErrWantRead {
			t.Fatal(err)
		}
		got = append(got, part...)
	}
	mustEqual(t, "data", got, want)
}

// A peer can fill an engine during the handshake too: that is an error of its
// own, not a reason to keep more.
func TestFeedIsBoundedBeforeTheHandshake(t *testing.T) {
	t.Parallel()
	_, serverConfig := ticketConfigs()
	server := tlsstream.NewServerEngine(serverConfig)
	defer server.Close()
	n, err := server.Feed(make([]byte, inputLimit+1))
	if n != inputLimit || !errors.Is(err, tlsstream.ErrInputFull) {
		t.Fatalf("Feed: %d, %v", n, err)
	}
	if n, err := server.Feed([]byte{0}); n != 0 || !errors.Is(err, tlsstream.ErrInputFull) {
		t.Fatalf("Feed: %d, %v", n, err)
	}
	var failed *tlsstream.HandshakeError
	if err := server.Handshake(); !errors.As(err, &failed) {
		t.Fatalf("Handshake with zeros: %v", err)
	}
}

// Write seals a bounded number of bytes ahead of Take, whatever the sizes of the
// writes, and loses nothing by it.
func TestWriteIsBounded(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	client, server := newEngines(t, clientConfig, serverConfig, everything)

	for _, size := range []int{1, 100, 60_000, writeLimit - 1, writeLimit, 1 << 20} {
		want := randomBytes(uint64(size), max(size, min(4000*size, 200_000))) // fills the engine
		var got []byte
		for rest := want; len(rest) > 0; {
			n, err := client.Write(rest[:min(size, len(rest))])
			rest = rest[n:]
			// Sealing adds its overhead to each record, and the first records
			// of a connection are small.
			if pending := client.Pending(); pending > writeLimit+writeLimit/20 {
				t.Fatalf("writes of %d bytes: %d bytes pending", size, pending)
			}
			switch {
			case err == nil && len(rest) > 0:
				continue
			case err != nil && !errors.Is(err, tlsstream.ErrWantWrite):
				t.Fatal(err)
			}
			if err != nil {
				if n, err := client.Write(rest); n != 0 || !errors.Is(err, tlsstream.ErrWantWrite) {
					t.Fatalf("Write with a full engine: %d, %v", n, err)
				}
			}
			carry(t, client, server, everything, func() {
				part, _ := readReady(server)
				got = append(got, part...)
			})
		}
		mustEqual(t, "data", got, want)
	}
}

// What Take and WriteTo have given is given once, and what a writer did not take
// stays due.
func TestWriteToKeepsWhatWasNotTaken(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	client, server := newEngines(t, clientConfig, serverConfig, everything)
	want := randomBytes(1, 50_000)
	if _, err := client.Write(want); err != nil {
		t.Fatal(err)
	}
	errStop := errors.New("stop")
	var stream []byte
	for limit := 0; client.Pending() > 0; limit += 1000 {
		before := client.Pending()
		n, err := client.WriteTo(writerFunc(func(p []byte) (int, error) {
			if len(p) <= limit {
				limit -= len(p)
				stream = append(stream, p...)
				return len(p), nil
			}
			n := limit
			limit = 0
			stream = append(stream, p[:n]...)
			return n, errStop
		}))
		if err != nil && err != errStop {
			t.Fatal(err)
		}
		if client.Pending() != before-int(n) {
			t.Fatalf("WriteTo wrote %d of %d bytes and left %d", n, before, client.Pending())
		}
	}
	server.Feed(stream)
	got, _ := readReady(server)
	mustEqual(t, "data", got, want)
	if n, err := client.WriteTo(io.Discard); n != 0 || err != nil {
		t.Fatalf("WriteTo with nothing due: %d, %v", n, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
