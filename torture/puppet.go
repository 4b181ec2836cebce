package torture

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A puppet is a TLS 1.3 client that sends what crypto/tls will not: KeyUpdate requests. crypto/tls runs its handshake
// and is then left alone; from there on the puppet seals records itself, and never reads.
type puppet struct {
	net.Conn // the transport

	tls   *tls.Conn
	keys  keyLog
	epoch *ticketdefer.Epoch

	// updateEvery is how many bytes of data follow each KeyUpdate. The first one goes before all data.
	updateEvery int
	untilUpdate int
}

// Record and message types, RFC 8446 sections 5.1, 4, 4.6.3 and 6.1.
const (
	typeAlert           = 21
	typeHandshake       = 22
	typeApplicationData = 23

	maxPlaintext = 1 << 14
)

var (
	keyUpdateRequested = []byte{24, 0, 0, 1, 1}
	closeNotify        = []byte{1, 0}
)

func newPuppet(transport net.Conn, config *tls.Config, updateEvery int) *puppet {
	p := &puppet{Conn: transport, updateEvery: updateEvery}
	config = config.Clone()
	config.KeyLogWriter = &p.keys
	p.tls = tls.Client(transport, config)
	return p
}

// Handshake runs the handshake and takes over its keys.
func (p *puppet) Handshake() error {
	if err := p.tls.Handshake(); err != nil {
		return err
	}
	secret, err := p.keys.secret("CLIENT_TRAFFIC_SECRET_0")
	if err != nil {
		return err
	}
	p.epoch, err = ticketdefer.NewEpoch(p.tls.ConnectionState().CipherSuite, secret)
	return err
}

var errPuppetRead = errors.New("torture: a puppet does not read")

func (p *puppet) Read([]byte) (int, error) { return 0, errPuppetRead }

// Write sends data, and a KeyUpdate wherever one is due, each in front of the data in one transport write.
func (p *puppet) Write(data []byte) (n int, err error) {
	var flight []byte
	for n < len(data) {
		flight = flight[:0]
		if p.untilUpdate == 0 {
			flight = p.epoch.Seal(flight, typeHandshake, keyUpdateRequested)
			if err := p.epoch.Update(); err != nil {
				return n, err
			}
			p.untilUpdate = p.updateEvery
		}
		content := data[n:]
		content = content[:min(len(content), maxPlaintext, p.untilUpdate)]
		flight = p.epoch.Seal(flight, typeApplicationData, content)
		if _, err := p.Conn.Write(flight); err != nil {
			return n, err
		}
		n += len(content)
		p.untilUpdate -= len(content)
	}
	return n, nil
}

// Close sends close_notify and closes the transport.
func (p *puppet) Close() error {
	var err error
	if p.epoch != nil {
		_, err = p.Conn.Write(p.epoch.Seal(nil, typeAlert, closeNotify))
	}
	return errors.Join(err, p.Conn.Close())
}

// A keyLog keeps what crypto/tls writes to a KeyLogWriter during one handshake.
type keyLog struct{ bytes.Buffer }

// secret returns the secret with the given label.
func (l *keyLog) secret(label string) ([]byte, error) {
	for line := range strings.Lines(l.String()) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == label {
			return hex.DecodeString(fields[2])
		}
	}
	return nil, fmt.Errorf("torture: crypto/tls logged no %s", label)
}

// An exactReader hands over one record at a time and never a byte of the next, as OpenSSL and GnuTLS read. crypto/tls
// reads ahead, which takes a small ticket out of the kernel by chance, and then the close that follows harms nobody.
type exactReader struct {
	net.Conn
	header [5]byte
	have   int // bytes of header read
	body   int // bytes of the record's body still to come
}

func (r *exactReader) Read(p []byte) (int, error) {
	if r.body > 0 {
		n, err := r.Conn.Read(p[:min(len(p), r.body)])
		r.body -= n
		return n, err
	}
	n, err := r.Conn.Read(p[:min(len(p), len(r.header)-r.have)])
	r.have += copy(r.header[r.have:], p[:n])
	if r.have == len(r.header) {
		r.have = 0
		r.body = int(r.header[3])<<8 | int(r.header[4])
	}
	return n, err
}
