package probe

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// Handshake messages after the handshake, and alerts (RFC 8446 4, 4.6, 6).
const (
	messageHeader    = 4
	messageTicket    = 4
	messageKeyUpdate = 24
	updateRequested  = 1

	alertWarning     = 1
	alertFatal       = 2
	alertCloseNotify = 0
)

// What a server may make the probe keep.
const (
	// maxPhaseBytes is how much one phase reads of a server that goes on sending.
	maxPhaseBytes = 1 << 20
	// maxSilences is how many times the silence that ends a phase it takes at most, for a server that is never silent.
	maxSilences = 4
	// maxMessage is the longest NewSessionTicket there can be: 65,535 bytes of ticket, as many of extensions, and more.
	maxMessage = 1 << 18
	// maxBanner is how much application data is kept, to find the name of the software.
	maxBanner = 8 << 10
)

// A kind is that of an event.
type kind int

const (
	ticket kind = iota
	keyUpdate
	data
	closeNotify
	otherAlert
	fin
	reset
)

// An event is something that came from the server.
type event struct {
	kind  kind
	bytes int       // of a ticket: the message
	wire  int       // of a ticket: the records that it came in
	at    time.Time // when it had been read
	burst int       // counts the reads; what came in one is of one burst
	alert byte
}

// A peer is the client's end of a stream after the handshake. It sends what the script wants, and notes what comes.
type peer struct {
	conn    net.Conn
	out, in *ticketdefer.Epoch

	buf     []byte // received, not opened yet
	message []byte // the part of a handshake message that has come
	wire    int    // bytes of the records that hold it
	burst   int
	banner  []byte // application data
	ended   bool
}

func (p *peer) send(contentType byte, content []byte) error {
	_, err := p.conn.Write(p.out.Seal(nil, contentType, content))
	return err
}

func (p *peer) sendData(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), maxPlaintext)
		if err := p.send(recordData, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// requestKeyUpdate asks the server to update its key, and updates ours.
func (p *peer) requestKeyUpdate() error {
	if err := p.send(recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, updateRequested}); err != nil {
		return err
	}
	return p.out.Update()
}

func (p *peer) sendCloseNotify() error {
	return p.send(recordAlert, []byte{alertWarning, alertCloseNotify})
}

// watch returns what comes until the server has been silent for so long, or its stream ends, or it has sent enough. The
// error is for what no TLS server sends, and for the deadline.
func (p *peer) watch(silence time.Duration, deadline time.Time) ([]event, error) {
	var events []event
	last := time.Now().Add(maxSilences * silence)
	for total := 0; !p.ended && total < maxPhaseBytes && time.Now().Before(last); {
		until := time.Now().Add(silence)
		if until.After(deadline) {
			until = deadline
		}
		p.conn.SetReadDeadline(until)
		chunk := make([]byte, 64<<10)
		n, err := p.conn.Read(chunk)
		total += n
		p.burst++
		p.buf = append(p.buf, chunk[:n]...)
		opened, openErr := p.open()
		events = append(events, opened...)
		switch {
		case openErr != nil:
			return events, openErr
		case err == nil:
			continue
		case isTimeout(err) && !time.Now().Before(deadline):
			return events, err
		case isTimeout(err):
			return events, nil
		case errors.Is(err, io.EOF):
			p.ended = true
			events = append(events, p.event(fin))
		case isReset(err):
			p.ended = true
			events = append(events, p.event(reset))
		default:
			return events, err
		}
	}
	return events, nil
}

func (p *peer) event(k kind) event { return event{kind: k, at: time.Now(), burst: p.burst} }

// open turns the whole records that have come into events.
func (p *peer) open() ([]event, error) {
	var events []event
	for len(p.buf) >= headerBytes {
		body := int(p.buf[3])<<8 | int(p.buf[4])
		if body > maxCiphertext {
			return events, fmt.Errorf("the server sent a record of %d bytes", body)
		}
		if len(p.buf) < headerBytes+body {
			break
		}
		record := p.buf[:headerBytes+body]
		p.buf = p.buf[len(record):]
		contentType, content := record[0], record[headerBytes:]
		switch contentType {
		case recordCCS:
			continue // RFC 8446 D.4: it means nothing
		case recordData:
			var err error
			if contentType, content, err = p.in.Open(nil, record); err != nil {
				return events, errors.New("the server sent a record that does not open")
			}
		}
		opened, err := p.take(contentType, content, len(record))
		events = append(events, opened...)
		if err != nil {
			return events, err
		}
	}
	return events, nil
}

func (p *peer) take(contentType byte, content []byte, wire int) ([]event, error) {
	switch contentType {
	case recordData:
		p.banner = append(p.banner, content[:min(len(content), maxBanner-len(p.banner))]...)
		if len(content) == 0 {
			return nil, nil
		}
		return []event{p.event(data)}, nil
	case recordAlert:
		if len(content) != 2 {
			return nil, errors.New("the server sent an alert that is none")
		}
		e := p.event(otherAlert)
		e.alert = content[1]
		if e.alert == alertCloseNotify {
			e.kind = closeNotify
		}
		return []event{e}, nil
	case recordHandshake:
		p.wire += wire
		p.message = append(p.message, content...)
		return p.messages()
	}
	return nil, fmt.Errorf("the server sent a record of type %d", contentType)
}

// messages turns the whole handshake messages that have come into events.
func (p *peer) messages() ([]event, error) {
	var events []event
	for len(p.message) >= messageHeader {
		n := messageHeader + int(p.message[1])<<16 + int(p.message[2])<<8 + int(p.message[3])
		if n > maxMessage {
			return events, fmt.Errorf("the server sent a handshake message of %d bytes", n)
		}
		if len(p.message) < n {
			break
		}
		switch p.message[0] {
		case messageTicket:
			e := p.event(ticket)
			e.bytes, e.wire = n, p.wire
			events = append(events, e)
		case messageKeyUpdate:
			events = append(events, p.event(keyUpdate))
			if err := p.in.Update(); err != nil {
				return events, err
			}
		}
		p.message = p.message[n:]
		p.wire = 0 // a record with several messages counts for the first
	}
	return events, nil
}
