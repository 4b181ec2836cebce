package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// What does not begin like TLS ends the handshake at once, in both roles, and the
// error shows how it began.
func TestPeerThatDoesNotSpeakTLS(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{false, true} {
		for _, input := range []string{
			"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
			"HTTP/1.1 400 Bad Request\r\n\r\n",
			"SSH-2.0-OpenSSH_9.9\r\n",
			"220 ftp.example ready\r\n",
			"EHLO a.example\r\n",
			"\x00\x00\x00\x00\x00\x00",
			string(randomBytes(7, 1000)),
		} {
			a, b := membio.Pipe(wide(1 << 16))
			conn := streamStack.server(b, testCA.ServerConfig())
			engine := tlsstream.NewServerEngine(testCA.ServerConfig())
			if client {
				conn = streamStack.client(b, testCA.ClientConfig())
				engine = tlsstream.NewClientEngine(testCA.ClientConfig())
				engine.Handshake()
			}
			a.Write([]byte(input))
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			engine.Feed([]byte(input))
			for name, h := range map[string]interface{ Handshake() error }{"Conn": conn, "Engine": engine} {
				err := h.Handshake()
				what := fmt.Sprintf("client=%t %s on %.20q", client, name, input)
				var failed *tlsstream.HandshakeError
				if !errors.As(err, &failed) || failed.Client != client || failed.Received == 0 {
					t.Errorf("%s: %v", what, err)
					continue
				}
				if quoted := fmt.Sprintf("%q", input[:5]); !strings.Contains(err.Error(), strings.Trim(quoted, `"`)) {
					t.Errorf("%s: no %s in the error: %v", what, quoted, err)
				}
				var header tls.RecordHeaderError
				if !errors.As(err, &header) {
					t.Errorf("%s: not a tls.RecordHeaderError: %v", what, err)
					continue
				}
				// Servers answer in plaintext there. Nobody can on an Engine.
				var want net.Conn = b
				if name == "Engine" {
					want = nil
				}
				if header.Conn != want {
					t.Errorf("%s: RecordHeaderError.Conn is %v", what, header.Conn)
				}
			}
			conn.Close()
			engine.Close()
			a.Close()
		}
	}
}

// A browser that speaks HTTP to an HTTPS port is told so.
func TestPlainHTTPOnTheTLSPort(t *testing.T) {
	t.Parallel()
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", testCA.ServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(l)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if diff := cmp.Diff(http.StatusBadRequest, response.StatusCode); diff != "" {
		t.Errorf("status, -want +got:\n%s", diff)
	}
}

// On a stream of AcceptStream net/http does not see that it is TLS, and cannot
// answer. The client gets an end of stream, and the server's log says why.
func TestPlainHTTPOnAStream(t *testing.T) {
	t.Parallel()
	a, b := membio.Pipe(wide(1 << 16))
	defer a.Close()
	server := tlsstream.Server(b, testCA.ServerConfig())
	a.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	_, err := server.Read(make([]byte, 1))
	var failed *tlsstream.HandshakeError
	if !errors.As(err, &failed) || !strings.Contains(failed.Hint, "GET / HTTP/1.1") {
		t.Errorf("Read: %v", err)
	}
	server.Close()
	if got, err := io.ReadAll(a); len(got) != 0 || err != nil {
		t.Errorf("the client reads %q, %v", got, err)
	}
}

// Alerts of RFC 8446 6.
const (
	unexpectedMessage = 10
	badRecordMAC      = 20
	recordOverflow    = 22
	decodeError       = 50
	protocolVersion   = 70
)

// A malformed ClientHello is answered with the alert that RFC 8446 names, on the
// wire, before the error is returned.
func TestMalformedClientHello(t *testing.T) {
	t.Parallel()
	record := func(contentType byte, length int, body ...byte) string {
		return string(append([]byte{contentType, 3, 1, byte(length >> 8), byte(length)}, body...))
	}
	for _, c := range []struct {
		name, input string
		alert       byte
	}{
		{"unknown message", record(typeHandshake, 4, 99, 0, 0, 0), unexpectedMessage},
		{"a message of the server's", record(typeHandshake, 4, 14, 0, 0, 0), unexpectedMessage},
		{"empty ClientHello", record(typeHandshake, 4, 1, 0, 0, 0), decodeError},
		{"oversized record", record(typeHandshake, 1<<14+2049), recordOverflow},
		{"empty record", record(typeHandshake, 0), unexpectedMessage},
		{"alert of one byte", record(typeAlert, 1, 2), unexpectedMessage},
		{"SSLv2", "\x80\x2e\x01\x03\x01\x00\x15\x00\x00", protocolVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := []byte{typeAlert, 3, 1, 0, 2, 2, c.alert}
			server := tlsstream.NewServerEngine(testCA.ServerConfig())
			defer server.Close()
			server.Feed([]byte(c.input))
			if err := server.Handshake(); err == nil || err == tlsstream.ErrWantRead {
				t.Fatalf("Engine: %v", err)
			}
			if diff := cmp.Diff(want, takeAll(server)); diff != "" {
				t.Errorf("Engine: the alert, -want +got:\n%s", diff)
			}
			a, b := membio.Pipe(wide(1 << 16))
			defer a.Close()
			conn := tlsstream.Server(b, testCA.ServerConfig())
			a.Write([]byte(c.input))
			if err := conn.Handshake(); err == nil {
				t.Fatal("Conn: the handshake succeeded")
			}
			conn.Close()
			if got, _ := io.ReadAll(a); cmp.Diff(want, got) != "" {
				t.Errorf("Conn: the alert, -want +got:\n%s", cmp.Diff(want, got))
			}
		})
	}
}

// A fatal alert of the peer's ends the handshake and is in the error.
func TestAlertOfThePeerInTheHandshake(t *testing.T) {
	t.Parallel()
	server := tlsstream.NewServerEngine(testCA.ServerConfig())
	defer server.Close()
	server.Feed([]byte{typeAlert, 3, 1, 0, 2, 2, 40})
	if err := server.Handshake(); !isRemoteAlert(err) {
		t.Errorf("Handshake: %v", err)
	}
}

// After the handshake a bad record is the end, and the peer is told which rule it
// broke.
func TestBadRecordsAreAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		bad   func(*requester) []byte
		alert byte
	}{
		{"bad MAC", func(r *requester) []byte {
			record := r.out.Seal(nil, typeData, []byte("data"))
			record[len(record)-1] ^= 1
			return record
		}, badRecordMAC},
		{"replay", func(r *requester) []byte {
			record := r.out.Seal(nil, typeData, []byte("data"))
			return append(record, record...)
		}, badRecordMAC},
		{"oversized record", func(*requester) []byte {
			return []byte{typeData, 3, 3, 0x41, 1} // 2^14 + 257
		}, recordOverflow},
		{"plaintext", func(*requester) []byte {
			return []byte{typeHandshake, 3, 3, 0, 4, 1, 0, 0, 0}
		}, badRecordMAC},
		{"other version", func(*requester) []byte {
			return []byte{typeData, 9, 9, 0, 1, 0}
		}, protocolVersion},
		{"unknown content type", func(r *requester) []byte {
			return r.out.Seal(nil, 99, []byte("data"))
		}, unexpectedMessage},
		{"unknown message", func(r *requester) []byte {
			return r.out.Seal(nil, typeHandshake, []byte{99, 0, 0, 0})
		}, unexpectedMessage},
		{"KeyUpdate of two bytes", func(r *requester) []byte {
			return r.out.Seal(nil, typeHandshake, []byte{24, 0, 0, 2, 0, 0})
		}, decodeError},
		{"data inside a message", func(r *requester) []byte {
			return r.out.Seal(r.out.Seal(nil, typeHandshake, []byte{24, 0}), typeData, []byte("data"))
		}, unexpectedMessage},
		{"17 KeyUpdates in a row", func(r *requester) (wire []byte) {
			for range 17 {
				wire = sealKeyUpdate(r.t, r.out, wire)
			}
			return wire
		}, unexpectedMessage},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log keyLog
			clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
			clientConfig.KeyLogWriter = &log
			a, b := membio.Pipe(wide(1 << 20))
			wire := &wiretap{Conn: b}
			client, server := tls.Client(a, clientConfig), tlsstream.Server(wire, serverConfig)
			defer a.Close()
			defer server.Close()
			if err := handshakeBoth(client, server); err != nil {
				t.Fatal(err)
			}
			r := &requester{client, t, a, log.epoch(t, "CLIENT", client.ConnectionState())}
			a.Write(c.bad(r))
			server.SetReadDeadline(time.Now().Add(10 * time.Second))
			p := make([]byte, 100)
			if n, err := server.Read(p); err == nil { // the first of a replay is good
				if _, err = server.Read(p); err == nil {
					t.Fatalf("Read: %q", p[:n])
				}
			}
			_, err := server.Read(p)
			var timeout net.Error
			if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("Read again: %v", err)
			}
			if n, err := server.Write(p); n != 0 || err == nil {
				t.Errorf("Write: %d, %v", n, err)
			}
			sent := wire.sent(t, log.epoch(t, "SERVER", client.ConnectionState()))
			if len(sent) == 0 {
				t.Fatal("no alert was sent")
			}
			last := sent[len(sent)-1]
			want := sentRecord{Write: last.Write, Type: typeAlert, Content: []byte{2, c.alert}}
			if diff := cmp.Diff(want, last); diff != "" {
				t.Errorf("the last record, -want +got:\n%s", diff)
			}
		})
	}
}
