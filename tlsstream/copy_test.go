package tlsstream_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A meter counts the calls of a plain io.Reader and io.Writer, and their largest.
type meter struct {
	io.Reader
	io.Writer
	calls, largest int
}

func (m *meter) Read(p []byte) (int, error) {
	m.calls, m.largest = m.calls+1, max(m.largest, len(p))
	return m.Reader.Read(p)
}

func (m *meter) Write(p []byte) (int, error) {
	m.calls, m.largest = m.calls+1, max(m.largest, len(p))
	return m.Writer.Write(p)
}

// io.Copy finds ReadFrom and WriteTo, in both directions, and with them uses
// buffers of a slice and not its own of 32 KiB.
func TestCopyUsesReadFromAndWriteTo(t *testing.T) {
	t.Parallel()
	client, server := tlsPipe(t)
	want := randomBytes(1, 3<<20)
	source := &meter{Reader: bytes.NewReader(want)}
	sent := make(chan error, 1)
	go func() {
		n, err := io.Copy(client, source)
		if n != int64(len(want)) {
			err = errors.Join(err, io.ErrShortWrite)
		}
		sent <- errors.Join(err, client.CloseWrite())
	}()
	var got bytes.Buffer
	sink := &meter{Writer: &got}
	n, err := io.Copy(sink, server)
	if n != int64(len(want)) || err != nil {
		t.Fatalf("io.Copy: %d, %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "copy", got.Bytes(), want)
	if diff := cmp.Diff(writeLimit, source.largest); diff != "" {
		t.Errorf("the largest Read of the source, -want +got:\n%s", diff)
	}
}

// One stream copied into another uses the methods of both.
func TestCopyBetweenStreams(t *testing.T) {
	t.Parallel()
	c1, s1 := tlsPipe(t)
	c2, s2 := tlsPipe(t)
	want := randomBytes(2, 1<<20)
	done := make(chan error, 2)
	go func() {
		_, err := c1.ReadFrom(bytes.NewReader(want))
		done <- errors.Join(err, c1.CloseWrite())
	}()
	go func() {
		_, err := io.Copy(c2, s1)
		done <- errors.Join(err, c2.CloseWrite())
	}()
	got, err := io.ReadAll(s2)
	if err := errors.Join(err, <-done, <-done); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "copy", got, want)
}

// ReadFrom ends with the source's error, and what it read before is sent.
func TestReadFromReturnsTheSourcesError(t *testing.T) {
	t.Parallel()
	client, server := tlsPipe(t)
	errSource := errors.New("source")
	source := io.MultiReader(bytes.NewReader([]byte("data")), errReader{errSource})
	done := make(chan error, 1)
	go func() {
		n, err := client.ReadFrom(source)
		if n != 4 || err != errSource {
			t.Errorf("ReadFrom: %d, %v", n, err)
		}
		done <- client.CloseWrite()
	}()
	if got, err := io.ReadAll(server); string(got) != "data" || err != nil {
		t.Errorf("the peer reads %q, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

var _ interface {
	io.ReaderFrom
	io.WriterTo
} = (*tlsstream.Conn)(nil)
