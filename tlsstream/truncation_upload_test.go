package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A cutUpload is all that a client sends, from ClientHello to close_notify. The
// handshake is played anew for each cut, by an engine on the client's side, so
// only the records after it are known beforehand by their lengths.
type cutUpload struct {
	version uint16
	writes  [][]byte
}

func (u *cutUpload) data() []byte { return slices.Concat(u.writes...) }

// records returns the client's records after its handshake: one for each write,
// and close_notify.
func (u *cutUpload) records(t *testing.T, client *tlsstream.Engine) (records [][]byte) {
	t.Helper()
	take := func() []byte {
		p := make([]byte, client.Pending())
		client.Take(p)
		return p
	}
	for _, data := range u.writes {
		if _, err := client.Write(data); err != nil {
			t.Fatal(err)
		}
		records = append(records, take())
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return append(records, take())
}

// A cutReader is a server that receives an upload to its end over conn. It
// returns what has come and the error that ended it, nil after io.EOF.
type cutReader struct {
	name string
	read func(conn *net.TCPConn) ([]byte, error)
	// lax is set if a cut between records counts as the end of the upload.
	lax bool
}

func cutReaders() []cutReader {
	config := endCA.ServerConfig()
	lax := &tlsstream.Options{AllowTruncation: true}
	strict := &tlsstream.Options{}
	engine := func(o *tlsstream.Options) func(*net.TCPConn) ([]byte, error) {
		return func(conn *net.TCPConn) ([]byte, error) { return readWithEngine(o.ServerEngine(config), conn) }
	}
	return []cutReader{
		{"stdlib", func(conn *net.TCPConn) ([]byte, error) { return io.ReadAll(tls.Server(conn, config)) }, true},
		{"Conn", func(conn *net.TCPConn) ([]byte, error) { return io.ReadAll(strict.Server(conn, config)) }, false},
		{"Conn.WriteTo", func(conn *net.TCPConn) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.Copy(&b, strict.Server(conn, config))
			return b.Bytes(), err
		}, false},
		{"Engine", engine(strict), false},
		{"Conn with AllowTruncation", func(conn *net.TCPConn) ([]byte, error) { return io.ReadAll(lax.Server(conn, config)) }, true},
		{"Engine with AllowTruncation", engine(lax), true},
	}
}

// readWithEngine is io.ReadAll for an engine that is fed from conn.
func readWithEngine(engine *tlsstream.Engine, conn net.Conn) (data []byte, err error) {
	defer engine.Close()
	buf := make([]byte, 1<<10)
	for {
		n, err := engine.Read(buf)
		data = append(data, buf[:n]...)
		if _, sendErr := engine.WriteTo(conn); sendErr != nil {
			return data, sendErr
		}
		switch {
		case err == io.EOF:
			return data, nil
		case err != nil && err != tlsstream.ErrWantRead:
			return data, err
		case err == nil:
			continue
		}
		n, err = conn.Read(buf)
		engine.Feed(buf[:n])
		if err == io.EOF {
			engine.FeedEOF()
		} else if err != nil {
			return data, err
		}
	}
}

// cutAt makes a handshake with reader, sends the first n bytes of the upload that
// follows, if there are so many, and ends the stream by a bare FIN. boundary tells
// whether that is between two records. If n is negative, the stream ends inside
// the handshake.
func (u *cutUpload) cutAt(t *testing.T, reader cutReader, n int) (got []byte, boundary, whole bool, err error) {
	t.Helper()
	clientConn, serverConn := tlstest.TCPPair(t)
	defer clientConn.Close()
	defer serverConn.Close()
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := reader.read(serverConn)
		done <- result{data, err}
	}()
	config := endCA.ClientConfig()
	config.MaxVersion = u.version
	config.DynamicRecordSizingDisabled = true
	config.CurvePreferences = []tls.CurveID{tls.X25519} // there are many handshakes
	client := tlsstream.NewClientEngine(config)
	defer client.Close()
	if n < 0 {
		client.Handshake()
		hello := make([]byte, client.Pending())
		client.Take(hello)
		clientConn.Write(hello[:max(0, len(hello)+n)])
	} else {
		if err := driveHandshake(client, clientConn); err != nil {
			t.Fatal(err)
		}
		records := u.records(t, client)
		stream := slices.Concat(records...)
		n = min(n, len(stream))
		whole = n == len(stream)
		end := 0
		boundary = n == 0
		for _, r := range records {
			end += len(r)
			boundary = boundary || n == end
		}
		if _, err := clientConn.Write(stream[:n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := clientConn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r := <-done
	return r.data, boundary, whole, r.err
}

// Whoever uploads and dies leaves a bare FIN, if the system closes for it. At no
// byte of the stream may that pass for the end of the upload.
func TestCutUploadIsNeverComplete(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		upload := &cutUpload{version, [][]byte{[]byte("first"), []byte("second record"), []byte("3")}}
		for i, reader := range cutReaders() {
			if i%2 == 1 && version == tls.VersionTLS12 && reader.name != "Conn" {
				continue // the other readers will do, for time
			}
			t.Run(tls.VersionName(version)+"/"+reader.name, func(t *testing.T) {
				t.Parallel()
				passed, cuts := 0, 0
				for n := -1; ; n++ {
					data, boundary, whole, err := upload.cutAt(t, reader, n)
					if whole {
						if err != nil || !bytes.Equal(data, upload.data()) {
							t.Errorf("with close_notify: %q, %v", data, err)
						}
						break
					}
					cuts++
					if err == nil {
						passed++
					}
					if !bytes.HasPrefix(upload.data(), data) {
						t.Errorf("cut at %d: received %q", n, data)
					}
					if want := boundary && reader.lax; (err == nil) != want {
						t.Errorf("cut at %d, between records: %v; the upload ended with %v", n, boundary, err)
					}
					if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && reader.name != "stdlib" {
						t.Errorf("cut at %d: %v is not io.ErrUnexpectedEOF", n, err)
					}
					if n >= 0 && !reader.lax && !errors.Is(err, tlsstream.ErrTruncated) {
						t.Errorf("cut at %d: %v is not ErrTruncated", n, err)
					}
				}
				// Behind the handshake and behind each write.
				want := 0
				if reader.lax {
					want = 1 + len(upload.writes)
				}
				if passed != want {
					t.Errorf("%d of %d cuts passed for the whole, want %d", passed, cuts, want)
				}
			})
		}
	}
}

// The same in the ClientHello, where Go's io.EOF would make an empty upload of it.
func TestUploadCutInTheHandshakeIsNeverComplete(t *testing.T) {
	upload := &cutUpload{version: tls.VersionTLS13}
	for _, reader := range cutReaders() {
		t.Run(reader.name, func(t *testing.T) {
			for _, n := range []int{-1 << 20, -100, -1} {
				_, _, _, err := upload.cutAt(t, reader, n)
				if reader.name == "stdlib" {
					continue // io.ReadAll takes its io.EOF for the end
				}
				if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
					t.Errorf("%d bytes before the end of the ClientHello: %v", -n, err)
				}
			}
		})
	}
}

// A full record that comes in many pieces, and many records at once.
func TestCutOfLargeRecordsIsNeverComplete(t *testing.T) {
	const full = 16 << 10
	upload := &cutUpload{tls.VersionTLS13, [][]byte{make([]byte, full), make([]byte, full), make([]byte, full)}}
	const record = full + 22
	for _, reader := range cutReaders() {
		if reader.name == "stdlib" {
			continue
		}
		t.Run(reader.name, func(t *testing.T) {
			for _, n := range []int{1, 4, 5, 6, record - 1, record, record + 1, record + 5, 2*record - 1, 2 * record, 3*record - 16, 3 * record, 3*record + 23} {
				data, boundary, _, err := upload.cutAt(t, reader, n)
				if (err == nil) != (boundary && reader.lax) {
					t.Error(fmt.Errorf("cut at %d: %d bytes, %w", n, len(data), err))
				}
				if len(data) != n/record*full {
					t.Errorf("cut at %d: %d bytes of data", n, len(data))
				}
			}
		})
	}
}
