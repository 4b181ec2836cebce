package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// hostile are what a peer may send after the handshake, legal or not.
var hostile = map[string]func(p *puppet) []byte{
	"a ticket from a client": func(p *puppet) []byte {
		return p.out.Seal(nil, recordHandshake, message(4, 200))
	},
	"many tickets": func(p *puppet) (out []byte) {
		for range 1000 {
			out = p.out.Seal(out, recordHandshake, message(4, 16000))
		}
		return out
	},
	"ClientHello": func(p *puppet) []byte {
		return p.out.Seal(nil, recordHandshake, message(messageClientHello, 200))
	},
	"ClientHello in plaintext": func(*puppet) []byte { return helloRecords(1000) },
	"unknown message":          func(p *puppet) []byte { return p.out.Seal(nil, recordHandshake, message(99, 3)) },
	"message without end":      func(p *puppet) []byte { return p.out.Seal(nil, recordHandshake, []byte{4, 255, 255, 255, 0}) },
	"part of a message":        func(p *puppet) []byte { return p.out.Seal(nil, recordHandshake, message(4, 200)[:100]) },
	"data within a message": func(p *puppet) []byte {
		return p.sealData(p.out.Seal(nil, recordHandshake, message(4, 200)[:100]), "data")
	},
	"empty handshake records": func(p *puppet) (out []byte) {
		for range 100 {
			out = p.out.Seal(out, recordHandshake, nil)
		}
		return out
	},
	"KeyUpdate of another form": func(p *puppet) []byte {
		return p.out.Seal(nil, recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, 2})
	},
	"KeyUpdate without content": func(p *puppet) []byte { return p.out.Seal(nil, recordHandshake, []byte{messageKeyUpdate, 0, 0, 0}) },
	"KeyUpdate with more":       func(p *puppet) []byte { return p.sealUpdate(nil, append(bytes.Clone(keyUpdateRequested), 4)) },
	"KeyUpdate twice in a record": func(p *puppet) []byte {
		return p.sealUpdate(nil, append(bytes.Clone(keyUpdateRequested), keyUpdateRequested...))
	},
	"KeyUpdate in two records": func(p *puppet) []byte {
		out := p.out.Seal(nil, recordHandshake, keyUpdateRequested[:2])
		return p.sealData(p.sealUpdate(out, keyUpdateRequested[2:]), "data")
	},
	"KeyUpdate and old keys": func(p *puppet) []byte {
		out := p.out.Seal(nil, recordHandshake, keyUpdateRequested)
		return p.sealData(out, "data")
	},
	"KeyUpdates in a row": func(p *puppet) (out []byte) {
		for range 40 {
			out = p.sealUpdate(out, keyUpdateRequested)
		}
		return out
	},
	"KeyUpdates before an error": func(p *puppet) (out []byte) {
		for range 300 {
			out = p.sealData(p.sealUpdate(out, keyUpdateRequested), "x")
		}
		return p.out.Seal(out, recordHandshake, message(99, 3))
	},
	"KeyUpdates before close_notify": func(p *puppet) (out []byte) {
		for range 30 {
			out = p.sealData(p.sealUpdate(out, keyUpdateRequested), "x")
		}
		return p.out.Seal(out, recordAlert, closeNotify)
	},
	"close_notify and data": func(p *puppet) []byte { return p.sealData(p.out.Seal(nil, recordAlert, closeNotify), "data") },
	"fatal alert":           func(p *puppet) []byte { return p.out.Seal(nil, recordAlert, []byte{2, 80}) },
	"user_canceled": func(p *puppet) (out []byte) {
		for range 40 {
			out = p.out.Seal(out, recordAlert, []byte{1, 90})
		}
		return out
	},
	"short alert":          func(p *puppet) []byte { return p.out.Seal(nil, recordAlert, []byte{1}) },
	"unknown type":         func(p *puppet) []byte { return p.out.Seal(nil, 77, []byte("data")) },
	"no type":              func(p *puppet) []byte { return p.out.Seal(nil, 0, make([]byte, 30)) },
	"wrong keys":           func(p *puppet) []byte { return p.in.Seal(nil, recordApplicationData, []byte("data")) },
	"a record twice":       func(p *puppet) []byte { r := p.sealData(nil, "data"); return append(r, r...) },
	"change_cipher_spec":   func(*puppet) []byte { return bytes.Repeat([]byte{recordChangeCipherSpec, 3, 3, 0, 1, 1}, 40) },
	"alert in plaintext":   func(*puppet) []byte { return []byte{recordAlert, 3, 3, 0, 2, 2, 40} },
	"length of zero":       func(*puppet) []byte { return []byte{recordApplicationData, 3, 3, 0, 0} },
	"length too large":     func(*puppet) []byte { return []byte{recordApplicationData, 3, 3, 0xff, 0xff} },
	"length one too large": func(*puppet) []byte { return []byte{recordApplicationData, 3, 3, 0x41, 0x01} },
	"another version":      func(*puppet) []byte { return []byte{recordApplicationData, 9, 9, 0, 20} },
	"record cut off":       func(p *puppet) []byte { return p.sealData(nil, "data")[:20] },
	"HTTP":                 func(*puppet) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") },
	"nothing":              func(*puppet) []byte { return nil },
	"empty application data": func(p *puppet) (out []byte) {
		for range 40 {
			out = p.sealData(out, "")
		}
		return out
	},
}

// A verdict is how a hostile peer was received.
type verdict struct {
	Read   string // what the application read
	Error  string
	Alerts []opened
}

// judgeHostile sends bytes to one side and tells what came of it. What the side
// wrote is taken from its transport, for a reset may keep it from the peer.
func judgeHostile(t *testing.T, l layered, h half, send func(p *puppet) []byte) verdict {
	t.Helper()
	a, b := tlstest.TCPPair(t)
	wire := &recorder{Conn: a}
	c, p, stats := h.start(t, l, wire, b)
	out := p.in.Clone()
	// A peer's reset would be another verdict.
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		p.Write(send(p))
		b.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	v := verdict{Read: string(got), Error: fmt.Sprint(err)}
	c.Close()
	<-sent
	b.Close()
	if held := stats().HeldBytes; held > 2048 {
		t.Errorf("%d bytes held", held)
	}
	for _, r := range openWire(t, out, wire.take()) {
		if r.Type == recordAlert {
			v.Alerts = append(v.Alerts, r)
		}
	}
	return v
}

// Whatever the peer sends, the side behind the layer answers as crypto/tls
// alone does, and all that it sends can be opened.
func TestHostilePeersAreAnsweredAsInStock(t *testing.T) {
	for _, h := range halves {
		for name, send := range hostile {
			t.Run(h.name+"/"+name, func(t *testing.T) {
				want := judgeHostile(t, layers[1], h, send)
				mustEqual(t, "verdict", want, judgeHostile(t, layers[0], h, send))
			})
		}
	}
}

// A peer that goes at any byte of the handshake leaves an error, and nothing else.
func TestPeerGoesAtEveryByteOfTheHandshake(t *testing.T) {
	flight := func() []byte { // of a client, up to its Finished
		a, b := tlstest.TCPPair(t)
		wire := &recorder{Conn: b}
		shake(t, tls.Server(a, testCA.ServerConfig()), tls.Client(wire, testCA.ClientConfig()))
		return bytes.Join(wire.take(), nil)
	}()
	config := WrapConfig(testCA.ServerConfig())
	for n := 0; n < len(flight); n += 1 + n/40 {
		a, b := net.Pipe()
		conn := WrapConn(a)
		a.SetDeadline(time.Now().Add(testTimeout))
		go io.Copy(io.Discard, b)
		server := tls.Server(conn, config)
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }()
		b.Write(flight[:n])
		b.Close()
		if err := <-done; err == nil {
			t.Errorf("%d of %d bytes: no error", n, len(flight))
		}
		server.Close()
	}
	mustEqual(t, "registered", 0, registered())
}
