package tlsstream_test

import (
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// The tests of how a stream ends share what is here. They play the peer with
// crypto/tls, with an Engine over a plain net.Conn, or with records that they
// seal themselves.

var endCA = tlstest.NewCA()

// endPatience bounds a test's own waits. It is reached only if something hangs.
const endPatience = 30 * time.Second

// endListen listens on the loopback interface until the test ends.
func endListen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// endConfigs are configurations with which a client is sent tickets.
func endConfigs() (client, server *tls.Config) {
	client, server = endCA.ClientConfig(), endCA.ServerConfig()
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	return client, server
}

// A secretLog keeps the last traffic secret of each label.
type secretLog struct {
	mu      sync.Mutex
	secrets map[string][]byte // guarded by mu
}

func (l *secretLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := strings.Fields(string(line)); len(f) == 3 {
		if l.secrets == nil {
			l.secrets = make(map[string][]byte)
		}
		l.secrets[f[0]], _ = hex.DecodeString(f[2])
	}
	return len(line), nil
}

// A scriptedPeer has run its handshake over conn, and seals what it sends
// afterwards itself. It is a server that sends no tickets, or a client.
type scriptedPeer struct {
	t    testing.TB
	conn net.Conn
	// out seals what the peer sends, and in opens what the other side does.
	out, in *ticketdefer.Epoch
}

// scriptPeer runs both handshakes, and returns the scripted one's side.
// handshake is the other side's.
func scriptPeer(t testing.TB, conn net.Conn, client bool, config *tls.Config, handshake func() error) *scriptedPeer {
	t.Helper()
	var log secretLog
	config = config.Clone()
	config.KeyLogWriter = &log
	config.SessionTicketsDisabled = true
	engine := tlsstream.NewServerEngine(config)
	out, in := "SERVER", "CLIENT"
	if client {
		engine = tlsstream.NewClientEngine(config)
		out, in = in, out
	}
	defer engine.Close()
	done := make(chan error, 1)
	go func() { done <- handshake() }()
	if err := driveHandshake(engine, conn); err != nil {
		t.Fatalf("scripted handshake: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("handshake with the scripted peer: %v", err)
	}
	epoch := func(side string) *ticketdefer.Epoch {
		e, err := ticketdefer.NewEpoch(engine.ConnectionState().CipherSuite, log.secrets[side+"_TRAFFIC_SECRET_0"])
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	return &scriptedPeer{t: t, conn: conn, out: epoch(out), in: epoch(in)}
}

// driveHandshake runs an engine's handshake over conn. It reads not a byte more
// than the handshake needs, since the records behind it are not the engine's.
func driveHandshake(engine *tlsstream.Engine, conn net.Conn) error {
	for {
		err := engine.Handshake()
		if _, sendErr := engine.WriteTo(conn); sendErr != nil {
			return sendErr
		}
		if !errors.Is(err, tlsstream.ErrWantRead) {
			return err
		}
		record, err := readRecord(conn)
		if err != nil {
			return err
		}
		if _, err := engine.Feed(record); err != nil {
			return err
		}
	}
}

// readRecord reads one TLS record, header included.
func readRecord(r io.Reader) ([]byte, error) {
	record := make([]byte, 5)
	if _, err := io.ReadFull(r, record); err != nil {
		return nil, err
	}
	record = append(record, make([]byte, int(record[3])<<8|int(record[4]))...)
	_, err := io.ReadFull(r, record[5:])
	return record, err
}

// send seals and sends one record. It may be over before anybody takes that.
func (p *scriptedPeer) send(contentType byte, content ...byte) {
	p.t.Helper()
	if _, err := p.conn.Write(p.out.Seal(nil, contentType, content)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		p.t.Fatalf("scripted peer: %v", err)
	}
}

// receive opens the next record.
func (p *scriptedPeer) receive() (contentType byte, content []byte) {
	p.t.Helper()
	record, err := readRecord(p.conn)
	if err != nil {
		p.t.Fatalf("scripted peer: %v", err)
	}
	contentType, content, err = p.in.Open(nil, record)
	if err != nil {
		p.t.Fatalf("scripted peer: %v", err)
	}
	return contentType, content
}

// Content types of RFC 8446 5.1, and levels of alerts.
const (
	contentAlert     = 21
	contentHandshake = 22
	contentData      = 23

	levelWarning = 1
	levelFatal   = 2
)
