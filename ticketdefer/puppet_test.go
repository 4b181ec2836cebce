package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	utls "github.com/refraction-networking/utls"
)

var (
	closeNotify        = []byte{1, alertCloseNotify}
	keyUpdate          = []byte{messageKeyUpdate, 0, 0, 1, 0}
	keyUpdateRequested = []byte{messageKeyUpdate, 0, 0, 1, 1}
)

// A puppet is a TLS 1.3 peer whose handshake crypto/tls ran, and which then
// sends any record that a test wants. It follows the other side's KeyUpdates.
type puppet struct {
	net.Conn
	out, in *Epoch
	frames  framer
	unread  []byte
	buf     []byte
	updates int // KeyUpdates that came
}

// newPuppetClient runs the handshake with server, over transport, and takes over.
func newPuppetClient(t testing.TB, server interface{ Handshake() error }, transport net.Conn, config *tls.Config) *puppet {
	t.Helper()
	log := new(keyLog)
	config = config.Clone()
	config.KeyLogWriter = log
	conn := tls.Client(&exactReader{Conn: transport}, config)
	shake(t, server, conn)
	return newPuppet(t, transport, conn.ConnectionState().CipherSuite, log, labelClientTraffic, labelServerTraffic)
}

// newPuppetServer runs the handshake with client, without tickets.
func newPuppetServer(t testing.TB, client interface{ Handshake() error }, transport net.Conn, config *tls.Config) *puppet {
	t.Helper()
	log := new(keyLog)
	config = config.Clone()
	config.KeyLogWriter = log
	config.SessionTicketsDisabled = true
	conn := tls.Server(&exactReader{Conn: transport}, config)
	shake(t, conn, client)
	return newPuppet(t, transport, conn.ConnectionState().CipherSuite, log, labelServerTraffic, labelClientTraffic)
}

func newPuppet(t testing.TB, transport net.Conn, suite uint16, log *keyLog, out, in string) *puppet {
	t.Helper()
	p := &puppet{Conn: transport, buf: make([]byte, 64<<10)}
	var err error
	if p.out, err = NewEpoch(suite, log.secret(t, out)); err != nil {
		t.Fatal(err)
	}
	if p.in, err = NewEpoch(suite, log.secret(t, in)); err != nil {
		t.Fatal(err)
	}
	return p
}

// sealUpdate appends a KeyUpdate with the given content and goes to the next keys.
func (p *puppet) sealUpdate(dst, content []byte) []byte {
	dst = p.out.Seal(dst, recordHandshake, content)
	if err := p.out.Update(); err != nil {
		panic(err)
	}
	return dst
}

// sealData appends application data.
func (p *puppet) sealData(dst []byte, data string) []byte {
	return p.out.Seal(dst, recordApplicationData, []byte(data))
}

// next returns the next record that is no KeyUpdate.
func (p *puppet) next() (contentType byte, content []byte, err error) {
	for {
		record, rest, err := p.frames.next(p.unread)
		if err != nil {
			return 0, nil, err
		}
		p.unread = rest
		if record == nil {
			n, err := p.Read(p.buf)
			if n == 0 && err != nil {
				return 0, nil, err
			}
			p.unread = p.buf[:n]
			continue
		}
		if record[0] == recordChangeCipherSpec {
			continue
		}
		sequence := p.in.Sequence()
		contentType, content, err := p.in.Open(nil, record)
		if err != nil {
			return 0, nil, fmt.Errorf("record %d after %d KeyUpdates: %w", sequence, p.updates, err)
		}
		if contentType != recordHandshake || !bytes.Equal(content, keyUpdate) {
			return contentType, content, nil
		}
		p.updates++
		if err := p.in.Update(); err != nil {
			return 0, nil, err
		}
	}
}

// data returns the next n bytes of application data, past tickets.
func (p *puppet) data(n int) (string, error) {
	var got []byte
	for len(got) < n {
		contentType, content, err := p.next()
		switch {
		case err != nil:
			return string(got), err
		case contentType == recordApplicationData:
			got = append(got, content...)
		case contentType == recordAlert:
			return string(got), fmt.Errorf("alert %d", content)
		}
	}
	return string(got), nil
}

// expect reads application data and compares it.
func (p *puppet) expect(t testing.TB, want string) {
	t.Helper()
	got, err := p.data(len(want))
	if err != nil || got != want {
		t.Fatalf("the peer read %d bytes, %.80q, %v, want %d, %.80q", len(got), got, err, len(want), want)
	}
}

// end reads until the end of the stream, and returns the alert in front of it.
func (p *puppet) end() (alert []byte, err error) {
	for {
		contentType, content, err := p.next()
		switch {
		case errors.Is(err, io.EOF):
			return alert, nil
		case err != nil:
			return alert, err
		case contentType == recordAlert:
			alert = content
		}
	}
}

// An exactReader hands over no byte behind the record that is being read, so
// that a handshake leaves what follows it to the puppet, or in the kernel.
type exactReader struct {
	net.Conn
	header [recordHeaderLen]byte
	have   int
	left   int
}

func (r *exactReader) Read(p []byte) (int, error) {
	if r.left > 0 {
		n, err := r.Conn.Read(p[:min(len(p), r.left)])
		r.left -= n
		return n, err
	}
	n, err := r.Conn.Read(p[:min(len(p), recordHeaderLen-r.have)])
	r.have += copy(r.header[r.have:], p[:n])
	if r.have == recordHeaderLen {
		r.have, r.left = 0, int(r.header[3])<<8|int(r.header[4])
	}
	return n, err
}

// utlsClient returns a client that offers one TLS 1.3 suite only, which a
// crypto/tls client cannot. It asks for tickets.
func utlsClient(t testing.TB, transport net.Conn, suite uint16, log io.Writer) *utls.UConn {
	t.Helper()
	c := utls.UClient(transport, &utls.Config{
		RootCAs: testCA.Pool(), ServerName: "localhost", KeyLogWriter: log,
		ClientSessionCache: utls.NewLRUClientSessionCache(1),
	}, utls.HelloCustom)
	err := c.ApplyPreset(&utls.ClientHelloSpec{
		CipherSuites:       []uint16{suite},
		CompressionMethods: []byte{0},
		TLSVersMin:         tls.VersionTLS13,
		TLSVersMax:         tls.VersionTLS13,
		Extensions: []utls.TLSExtension{
			&utls.SNIExtension{},
			&utls.SupportedVersionsExtension{Versions: []uint16{tls.VersionTLS13}},
			&utls.SupportedCurvesExtension{Curves: []utls.CurveID{utls.X25519}},
			&utls.KeyShareExtension{KeyShares: []utls.KeyShare{{Group: utls.X25519}}},
			&utls.PSKKeyExchangeModesExtension{Modes: []uint8{utls.PskModeDHE}},
			&utls.SignatureAlgorithmsExtension{SupportedSignatureAlgorithms: []utls.SignatureScheme{
				utls.ECDSAWithP256AndSHA256, utls.Ed25519, utls.PSSWithSHA256,
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
