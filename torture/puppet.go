package torture

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A puppet is a TLS 1.3 peer, client or server, that sends what crypto/tls will not. crypto/tls runs its handshake, record
// by record, so that it swallows nothing of what follows, and is then left alone; from there on the puppet has the keys of
// both directions and makes any record that its script wants (puppet_records.go). Nothing is sent that the script did not
// ask for, and nothing is read before it asks.
//
// A puppet is a Conn, too: Write sends data with the KeyUpdates that updateEvery and the peer's requests call for, and
// Read returns the peer's data. One goroutine at a time may send, and one may read.
type puppet struct {
	net.Conn // the transport

	tls    *tls.Conn
	client bool
	keys   keyLog

	out, in direction

	// updateEvery is how many bytes of data follow each KeyUpdate request that Write makes; the first one goes before
	// all data. If zero, Write makes none.
	updateEvery int
	untilUpdate int

	owes atomic.Bool // the peer has requested a KeyUpdate, and Write has not sent it

	buf    []byte // the record that next reads
	unread []byte // of the data in it, what Read has not returned
	ended  error  // what every further Read returns
}

// A direction is one half of a puppet's stream: its keys, and the handshake messages that change them.
type direction struct {
	*ticketdefer.Epoch
	message  []byte // the part of a handshake message that has passed
	updates  int    // KeyUpdates that have passed
	requests int    // of these, the ones with update_requested
	inRow    int    // of these, the ones since the last data
	longest  int    // the most that inRow has been
}

// newPuppet makes a client. Its config may ask for tickets: the puppet finds them unread.
func newPuppet(transport net.Conn, config *tls.Config) *puppet {
	p := &puppet{Conn: transport, client: true}
	p.tls = tls.Client(&exactReader{Conn: transport}, p.logged(config))
	return p
}

// newPuppetServer makes a server. It sends no tickets but its script's.
func newPuppetServer(transport net.Conn, config *tls.Config) *puppet {
	p := &puppet{Conn: transport}
	config = p.logged(config)
	config.SessionTicketsDisabled = true
	p.tls = tls.Server(&exactReader{Conn: transport}, config)
	return p
}

func (p *puppet) logged(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.KeyLogWriter = &p.keys
	return config
}

// Handshake runs the handshake and takes over its keys.
func (p *puppet) Handshake() error {
	if p.out.Epoch != nil {
		return nil
	}
	if err := p.tls.Handshake(); err != nil {
		return err
	}
	out, in := "SERVER_TRAFFIC_SECRET_0", "CLIENT_TRAFFIC_SECRET_0"
	if p.client {
		out, in = in, out
	}
	var errs [2]error
	p.in.Epoch, errs[0] = p.epoch(in)
	p.out.Epoch, errs[1] = p.epoch(out)
	return errors.Join(errs[:]...)
}

func (p *puppet) epoch(label string) (*ticketdefer.Epoch, error) {
	secret, err := p.keys.secret(label)
	if err != nil {
		return nil, err
	}
	return ticketdefer.NewEpoch(p.tls.ConnectionState().CipherSuite, secret)
}

// send puts the records on the wire, all in one transport write.
func (p *puppet) send(records ...record) error {
	flight, err := p.seal(records...)
	if err != nil {
		return err
	}
	_, err = p.Conn.Write(flight)
	return err
}

// sendPaused puts each record on the wire in a write of its own, and pauses in front of it.
func (p *puppet) sendPaused(pause func(), records ...record) error {
	for _, r := range records {
		pause()
		if err := p.send(r); err != nil {
			return err
		}
	}
	return nil
}

// sendPart puts all on the wire but the last missing bytes: it stops in the middle of a record.
func (p *puppet) sendPart(missing int, records ...record) error {
	flight, err := p.seal(records...)
	if err != nil {
		return err
	}
	_, err = p.Conn.Write(flight[:max(0, len(flight)-missing)])
	return err
}

// seal protects the records. A KeyUpdate that is complete with one of them changes the key of the next.
func (p *puppet) seal(records ...record) ([]byte, error) {
	var flight []byte
	for _, r := range records {
		if r.raw {
			flight = append(flight, r.content...)
			continue
		}
		// Inside its protection a record is content, type and zeros; Seal appends one byte for the type.
		inner, last := r.content, r.kind
		if r.padding > 0 {
			inner = append(append(inner[:len(inner):len(inner)], r.kind), make([]byte, r.padding-1)...)
			last = 0
		}
		flight = p.out.Seal(flight, last, inner)
		if err := p.out.follow(r); err != nil {
			return nil, err
		}
	}
	return flight, nil
}

// next reads the next record, of whatever kind, and follows a KeyUpdate in it. The content is good until the next call.
// After the peer's FIN the error is io.EOF, or io.ErrUnexpectedEOF inside a record.
func (p *puppet) next() (record, error) {
	for {
		if p.buf == nil {
			p.buf = make([]byte, headerBytes+maxCiphertext)
		}
		if _, err := io.ReadFull(p.Conn, p.buf[:headerBytes]); err != nil {
			return record{}, err
		}
		body := int(p.buf[3])<<8 | int(p.buf[4])
		if body > maxCiphertext {
			return record{}, fmt.Errorf("torture: the puppet was sent a record of %d bytes", body)
		}
		wire := p.buf[:headerBytes+body]
		if _, err := io.ReadFull(p.Conn, wire[headerBytes:]); err != nil {
			return record{}, noEOF(err)
		}
		switch wire[0] {
		case typeChangeCipherSpec:
			continue // RFC 8446 D.4: it means nothing
		case typeAlert:
			return record{kind: typeAlert, content: wire[headerBytes:], raw: true}, nil
		}
		sequence := p.in.Sequence()
		kind, content, err := p.in.Open(nil, wire)
		if err != nil {
			return record{}, fmt.Errorf("torture: record %d of %d bytes, after %d KeyUpdates: %w", sequence, len(wire), p.in.updates, err)
		}
		r := record{kind: kind, content: content}
		requests := p.in.requests
		err = p.in.follow(r)
		if p.in.requests > requests {
			p.owes.Store(true)
		}
		return r, err
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// follow looks for KeyUpdates in the messages of a record that passes.
func (d *direction) follow(r record) error {
	if r.kind == typeApplicationData {
		d.inRow = 0
	}
	if r.kind != typeHandshake {
		return nil
	}
	d.message = append(d.message, r.content...)
	for len(d.message) >= messageHeader {
		n := messageHeader + int(d.message[1])<<16 + int(d.message[2])<<8 + int(d.message[3])
		if len(d.message) < n {
			break
		}
		if message := d.message[:n]; message[0] == messageKeyUpdate {
			d.updates++
			d.inRow++
			d.longest = max(d.longest, d.inRow)
			if message[n-1] == updateRequested {
				d.requests++
			}
			if err := d.Update(); err != nil {
				return err
			}
		}
		d.message = d.message[n:]
	}
	return nil
}

// An alertError is an alert of the peer's.
type alertError struct{ level, alert byte }

func (e alertError) Error() string {
	return fmt.Sprintf("torture: the puppet was sent alert %d of level %d", e.alert, e.level)
}

// Read returns application data, past all other records. It ends with io.EOF at close_notify, io.ErrUnexpectedEOF at a
// FIN without one, and an alertError at any other alert.
func (p *puppet) Read(b []byte) (int, error) {
	for len(p.unread) == 0 {
		if p.ended != nil {
			return 0, p.ended
		}
		r, err := p.next()
		switch {
		case err != nil:
			p.ended = noEOF(err)
		case r.kind == typeApplicationData:
			p.unread = r.content
		case r.kind != typeAlert:
		case bytes.Equal(r.content, closeNotify):
			p.ended = io.EOF
		case len(r.content) == 2:
			p.ended = alertError{r.content[0], r.content[1]}
		}
	}
	n := copy(b, p.unread)
	p.unread = p.unread[n:]
	return n, nil
}

// Write sends data, and a KeyUpdate wherever one is due, each in front of the data in one transport write. Requests of
// the peer's are answered with one KeyUpdate, however many they are (RFC 8446 4.6.3).
func (p *puppet) Write(b []byte) (n int, err error) {
	for n < len(b) {
		var flight []record
		if p.owes.Swap(false) {
			flight = append(flight, keyUpdate(false))
		}
		content := b[n:]
		content = content[:min(len(content), maxPlaintext)]
		if p.updateEvery > 0 {
			if p.untilUpdate == 0 {
				flight = append(flight, keyUpdate(true))
				p.untilUpdate = p.updateEvery
			}
			content = content[:min(len(content), p.untilUpdate)]
			p.untilUpdate -= len(content)
		}
		flight = append(flight, data(content))
		if err := p.send(flight...); err != nil {
			return n, err
		}
		n += len(content)
	}
	return n, nil
}

// CloseWrite sends close_notify and FIN.
func (p *puppet) CloseWrite() error {
	if err := p.send(alert(alertWarning, 0)); err != nil {
		return err
	}
	return p.fin()
}

// acceptedUpdates is how many KeyUpdates in a row a peer takes: crypto/tls refuses the next one, and others take fewer.
const acceptedUpdates = 16

// finish reads to the peer's FIN, after the puppet's CloseWrite and the peer's close_notify. It fails if anything comes in
// between (RFC 8446 6.1), or if the peer has sent more KeyUpdates in a row than others would take of it.
func (p *puppet) finish() error {
	late, kind := 0, byte(0)
	for {
		r, err := p.next()
		switch {
		case err == nil:
			late++
			kind = r.kind
		case err != io.EOF:
			return err
		case late > 0:
			return fmt.Errorf("torture: the puppet was sent %d records after close_notify, the last of type %d", late, kind)
		case p.in.longest > acceptedUpdates:
			return fmt.Errorf("torture: the puppet was sent %d KeyUpdates in a row, and peers take %d", p.in.longest, acceptedUpdates)
		default:
			return nil
		}
	}
}

// fin ends the puppet's half of the transport, and says nothing of it in TLS.
func (p *puppet) fin() error {
	half, ok := p.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("torture: no half-close on %T: %w", p.Conn, errors.ErrUnsupported)
	}
	return half.CloseWrite()
}

// Close sends close_notify and closes the transport.
func (p *puppet) Close() error {
	var err error
	if p.out.Epoch != nil {
		err = p.send(alert(alertWarning, 0))
	}
	return errors.Join(err, p.Conn.Close())
}

// reset ends the transport with an RST.
func (p *puppet) reset() error {
	lingerer, ok := p.Conn.(interface{ SetLinger(int) error })
	if !ok {
		return fmt.Errorf("torture: no reset on %T: %w", p.Conn, errors.ErrUnsupported)
	}
	return errors.Join(lingerer.SetLinger(0), p.Conn.Close())
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
