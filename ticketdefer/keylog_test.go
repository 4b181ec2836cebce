package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A key log writer of the user's gets every line, as it was; its error fails
// the handshake.
func TestKeyLogWriterIsChained(t *testing.T) {
	for name, wrap := range map[string]func(*tls.Config, *Conn) *tls.Config{
		"stock":      func(c *tls.Config, _ *Conn) *tls.Config { return c },
		"WrapConfig": func(c *tls.Config, _ *Conn) *tls.Config { return WrapConfig(c) },
		"BindConfig": func(c *tls.Config, conn *Conn) *tls.Config { return BindConfig(c, conn) },
	} {
		t.Run(name, func(t *testing.T) {
			run := func(w io.Writer) error {
				a, b := tlstest.TCPPair(t)
				conn := WrapConn(a)
				defer conn.Close()
				serverConfig := testCA.ServerConfig()
				serverConfig.KeyLogWriter = w
				server, client := tls.Server(conn, wrap(serverConfig, conn)), tls.Client(b, resumable())
				return tryShake(server, client)
			}
			log := new(keyLog)
			if err := run(log); err != nil {
				t.Fatal(err)
			}
			var labels []string
			for line := range strings.Lines(log.String()) {
				label, _, _ := strings.Cut(line, " ")
				labels = append(labels, label)
			}
			mustEqual(t, "lines", []string{
				"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", labelClientTraffic, labelServerTraffic,
			}, labels)
			if err := run(failingWriter{}); !errors.Is(err, errDisk) {
				t.Errorf("handshake with a failing KeyLogWriter: %v", err)
			}
		})
	}
}

var errDisk = errors.New("disk full")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errDisk }

// A line of any form is passed on as it is, and taken only if it is a secret.
func FuzzKeyLogLine(f *testing.F) {
	random := strings.Repeat("0a", randomLen)
	for _, label := range []string{labelClientTraffic, labelServerTraffic, labelTLS12, "EXPORTER_SECRET"} {
		f.Add([]byte(label + " " + random + " " + strings.Repeat("b1", 32) + "\n"))
		f.Add([]byte(label + " " + random + " " + strings.Repeat("b1", 48) + "\r\n"))
	}
	f.Add([]byte(labelServerTraffic + "  "))
	f.Add([]byte(labelServerTraffic + " " + random + " " + strings.Repeat("b1", 49)))
	f.Fuzz(func(t *testing.T, line []byte) {
		var next bytes.Buffer
		w := KeyLogWriter(&next)
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		if !bytes.Equal(next.Bytes(), line) {
			t.Fatalf("passed on %q, want %q", next.Bytes(), line)
		}
		if n, err := KeyLogWriter(nil).Write(line); n != len(line) || err != nil {
			t.Fatalf("Write without a next writer = %d, %v", n, err)
		}
		l, ok := parseLogLine(line)
		if !ok {
			return
		}
		again := l.label + " " + hex.EncodeToString(l.random[:]) + " " + hex.EncodeToString(l.secret[:l.n])
		if got := strings.TrimRight(string(line), " \r\n"); !strings.EqualFold(got, strings.TrimRight(again, " ")) {
			t.Fatalf("%q was taken for %q", got, again)
		}
	})
}
