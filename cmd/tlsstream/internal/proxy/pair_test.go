package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A carried is a connection through a server in one of its two directions: the ends
// are a TLS stream's and a plain one's, whoever of them dialled.
type carried struct {
	*running
	tls   *tlsstream.Conn
	plain *net.TCPConn
}

// eachDirection runs a test for a terminating server and for an originating one.
func eachDirection(t *testing.T, change func(*Config), test func(*testing.T, carried)) {
	t.Run("terminate", func(t *testing.T) {
		b := newBackend(t)
		config := testConfig(b.address())
		change(&config)
		r := start(t, config)
		stream := r.dial(t)
		test(t, carried{r, stream, b.accept()})
	})
	t.Run("originate", func(t *testing.T) {
		b := newBackend(t)
		config := originating(b.address())
		change(&config)
		r := start(t, config)
		plain := r.dialPlain(t)
		stream := tlsstream.Server(b.accept(), testCA.ServerConfig())
		if err := stream.Handshake(); err != nil {
			t.Fatal(err)
		}
		test(t, carried{r, stream, plain})
	})
}

func asIs(*Config) {}

func TestBytesCrossUnchanged(t *testing.T) {
	eachDirection(t, asIs, func(t *testing.T, c carried) {
		const size = 3<<20 + 17
		sent := string(pattern(size))
		for _, way := range []struct {
			from interface {
				io.Writer
				CloseWrite() error
			}
			to io.Reader
		}{{c.tls, c.plain}, {c.plain, c.tls}} {
			go func() {
				io.WriteString(way.from, sent)
				way.from.CloseWrite()
			}()
			got, err := io.ReadAll(way.to)
			if err != nil || string(got) != sent {
				t.Errorf("%d bytes arrived, %v", len(got), err)
			}
		}
	})
}

func TestHalfCloseOfTheTLSPeerCrossesAtOnce(t *testing.T) {
	eachDirection(t, asIs, func(t *testing.T, c carried) {
		mustWrite(t, c.tls, "request")
		if err := c.tls.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expect(t, c.plain, "request")
		expectEnd(t, c.plain, io.EOF)
		mustWrite(t, c.plain, "answer") // the other direction goes on
		expect(t, c.tls, "answer")
		c.plain.CloseWrite()
		expectEnd(t, c.tls, io.EOF)
	})
}

// never is a quiet moment that no test lives to see.
const never = 24 * time.Hour

func TestHalfCloseOfThePlainSideCrossesAtOnceBehindAnAnswer(t *testing.T) {
	eachDirection(t, func(c *Config) { c.Quiet = never }, func(t *testing.T, c carried) {
		mustWrite(t, c.tls, "request")
		expect(t, c.plain, "request")
		mustWrite(t, c.plain, "answer")
		expect(t, c.tls, "answer")
		c.plain.CloseWrite()
		expectEnd(t, c.tls, io.EOF)
		mustWrite(t, c.tls, "more")
		expect(t, c.plain, "more")
		c.tls.CloseWrite()
		expectEnd(t, c.plain, io.EOF)
	})
}

func TestResetOfThePlainSideCrossesAsAlert(t *testing.T) {
	eachDirection(t, asIs, func(t *testing.T, c carried) {
		mustWrite(t, c.plain, "a part of the answer")
		expect(t, c.tls, "a part of the answer")
		c.plain.SetLinger(0)
		c.plain.Close()
		expectAlert(t, c.tls, tlsstream.AlertInternalError)
	})
}

// The backend answers and goes, with a part of the request unread: its kernel sends RST
// behind the answer, and it is the proxy's write that fails.
func TestAnswerBeforeAResetArrives(t *testing.T) {
	eachDirection(t, asIs, func(t *testing.T, c carried) {
		mustWrite(t, c.tls, string(pattern(1<<10)))
		expect(t, c.plain, string(pattern(1<<10)))
		mustWrite(t, c.tls, "unread")
		mustWrite(t, c.plain, "go away")
		expect(t, c.plain, "unr")
		c.plain.Close()
		expect(t, c.tls, "go away")
		expectAlert(t, c.tls, tlsstream.AlertInternalError)
	})
}

// TLS 1.2 has no traffic secrets that the layer could seal an alert with: crypto/tls is
// made to send one of its own.
func TestResetOfThePlainSideCrossesToTLS12(t *testing.T) {
	b := newBackend(t)
	config := testCA.ClientConfig()
	config.MaxVersion = tls.VersionTLS12
	stream := start(t, testConfig(b.address())).dial(t, config)
	plain := b.accept()
	mustWrite(t, plain, "a part of the answer")
	expect(t, stream, "a part of the answer")
	reset(plain)
	expectAlert(t, stream, tlsstream.AlertBadRecordMAC)
}

// breakOffs are the ways for a TLS stream not to end in order.
var breakOffs = map[string]func(*tlsstream.Conn){
	"truncation": func(c *tlsstream.Conn) { c.NetConn().(*net.TCPConn).CloseWrite() },
	"alert":      func(c *tlsstream.Conn) { c.Abort(tlsstream.AlertUserCanceled + 20) },
	"reset":      func(c *tlsstream.Conn) { reset(c.NetConn().(*net.TCPConn)) },
}

func TestBrokenTLSStreamCrossesAsReset(t *testing.T) {
	for name, breakOff := range breakOffs {
		t.Run(name, func(t *testing.T) {
			eachDirection(t, asIs, func(t *testing.T, c carried) {
				mustWrite(t, c.tls, "a part of it")
				expect(t, c.plain, "a part of it")
				breakOff(c.tls)
				expectReset(t, c.plain)
			})
		})
	}
}

// What came before a truncation is delivered to a backend that is slow to read, however
// much of it lies in the proxy's kernel when the truncation comes.
func TestNothingBeforeATruncationIsLost(t *testing.T) {
	eachDirection(t, asIs, func(t *testing.T, c carried) {
		const size = 6 << 20
		go func() {
			c.tls.Write(pattern(size))
			c.tls.NetConn().(*net.TCPConn).CloseWrite()
		}()
		time.Sleep(300 * time.Millisecond) // the load under test: a slow backend
		expect(t, c.plain, string(pattern(size)))
		expectReset(t, c.plain)
	})
}

// A TLS peer that truncates but goes on reading is not told that all was well.
func TestTruncatingPeerIsToldSo(t *testing.T) {
	eachDirection(t, asIs, func(t *testing.T, c carried) {
		mustWrite(t, c.tls, "a part of it")
		expect(t, c.plain, "a part of it")
		breakOffs["truncation"](c.tls)
		expectAlert(t, c.tls, tlsstream.AlertDecodeError)
	})
}

// A client that uploads, says goodbye and goes without waiting for the answer has
// uploaded: its end is an end, and the reset that meets the answer comes behind it.
func TestUploadOfAPeerThatIsDeafEndsInOrder(t *testing.T) {
	eachDirection(t, asIs, func(t *testing.T, c carried) {
		mustWrite(t, c.plain, "unread greeting")
		mustWrite(t, c.tls, "upload")
		if err := c.tls.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.tls.NetConn().Close() // the greeting is unread, or comes later
		expect(t, c.plain, "upload")
		expectEnd(t, c.plain, io.EOF)
		for {
			if _, err := c.plain.Write(pattern(1 << 10)); err != nil {
				break // in the end the plain side is told
			}
		}
	})
}

func TestIdleConnectionEndsAsErrorOnBothSides(t *testing.T) {
	eachDirection(t, func(c *Config) { c.IdleTimeout = 200 * time.Millisecond }, func(t *testing.T, c carried) {
		mustWrite(t, c.tls, "request")
		expect(t, c.plain, "request")
		expectAlert(t, c.tls, tlsstream.AlertInternalError)
		expectReset(t, c.plain)
	})
}

func TestUnreachableBackendCrossesAsError(t *testing.T) {
	b := newBackend(t)
	nobody := b.address()
	b.Close()
	t.Run("terminate", func(t *testing.T) {
		expectAlert(t, start(t, testConfig(nobody)).dial(t), tlsstream.AlertInternalError)
	})
	t.Run("originate", func(t *testing.T) {
		r := start(t, originating(nobody))
		conn, err := net.Dial("tcp", r.address)
		if err == nil { // or it is reset before it is there
			defer conn.Close()
			_, err = conn.Read(make([]byte, 1))
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	})
}

func TestBackendThatFailsItsHandshakeCrossesAsReset(t *testing.T) {
	b := newBackend(t)
	plain := start(t, originating(b.address())).dialPlain(t)
	stranger := tlstest.NewCA()
	stream := tlsstream.Server(b.accept(), stranger.ServerConfig())
	if err := stream.Handshake(); err == nil {
		expectAlert(t, stream, tlsstream.AlertBadCertificate)
	}
	expectReset(t, plain)
}
