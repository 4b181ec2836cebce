package tlsstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// The reader's rules are those of readRecordOrCCS and what follows it in
// crypto/tls/conn.go, in their order: which alert a peer gets, and whether it gets one,
// must not tell which of the two it has talked to. FuzzOwnRecordsAgainstCryptoTLS
// compares them. The one difference: a message that has no place after the handshake is
// refused as such, and not looked into.

// Bounds of crypto/tls (common.go and conn.go). A peer cannot make the reader keep more than one
// message and one record.
const (
	recordHeader   = 5
	maxContent     = 16 << 10         // of a record (RFC 8446 5.1)
	maxCiphertext  = maxContent + 256 // a record's length (RFC 8446 5.2)
	maxMessage     = 64 << 10         // of a handshake message, its header left out
	maxCertificate = 256 << 10        // of one that claims to be a Certificate
	maxUseless     = 16               // records and messages in a row that bring no application data
)

// Content types and messages (RFC 8446 5.1, 4).
const (
	contentChangeCipherSpec = 20
	contentAlert            = 21
	contentHandshake        = 22
	contentData             = 23

	messageNewSessionTicket = 4
	messageCertificate      = 11
	messageKeyUpdate        = 24
	messageHeader           = 4
)

// A rawBuffer has room for a record of full size, and for the beginning of the next.
type rawBuffer [recordHeader + maxCiphertext + 2<<10]byte

var rawBuffers = sync.Pool{New: func() any { return new(rawBuffer) }}

// An ownReader opens the peer's records. An idle one keeps no buffer.
type ownReader struct {
	wire    *transport   // ciphertext comes from there; the gate sends what the peer is owed
	tickets *ticketTaker // nil where nobody wants any
	client  bool

	closed atomic.Bool // wipe was called

	mu sync.Mutex
	// Guarded by mu.
	err     error // the first that was final
	epoch   *ticketdefer.Epoch
	buffer  *rawBuffer // from the pool, or nil
	raw     []byte     // ciphertext that has not been opened; in buffer, if there is one
	wanted  int        // how much of it fetch is waiting for
	plain   []byte     // in buffer; application data that has been opened and not read
	dirty   int        // so much of buffer may be plaintext: it was opened in place
	message []byte     // the beginning of a handshake message
	useless int        // records and messages since the last application data
}

// read is Conn.Read of crypto/tls: it returns data of one record.
func (r *ownReader) read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	r.mu.Lock()
	defer func() { // a session cache may panic
		r.tidyLocked(err != nil)
		r.mu.Unlock()
		if r.closed.Load() {
			r.wipe()
		}
	}()
	return r.readLocked(p)
}

func (r *ownReader) readLocked(p []byte) (int, error) {
	for len(r.plain) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		n, err := r.next(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

// next takes the next record. Exactly one of the following happens: it returns
// application data, which it has opened into p; r.plain is set; an error is returned; or
// none of these, and it is to be called again.
func (r *ownReader) next(p []byte) (int, error) {
	if err := r.fetch(recordHeader); err != nil {
		if err == io.ErrUnexpectedEOF && len(r.raw) == 0 {
			err = io.EOF // as crypto/tls: whether it is truncation, Engine.read tells
		}
		return 0, r.final(err)
	}
	outer, n := r.raw[0], int(r.raw[3])<<8|int(r.raw[4])
	switch {
	case r.raw[1] != 3 || r.raw[2] != 3:
		return 0, r.refuseHeader(AlertProtocolVersion, "received record with version %[1]x when expecting version 303")
	case n > maxCiphertext:
		return 0, r.refuseHeader(AlertRecordOverflow, "oversized record received with length %[2]d")
	}
	if err := r.fetch(recordHeader + n); err != nil {
		return 0, r.final(err)
	}
	record := r.raw[:recordHeader+n]
	r.raw = r.raw[len(record):]

	contentType, content, direct := byte(contentChangeCipherSpec), record[recordHeader:], false
	if outer != contentChangeCipherSpec { // else it is not sealed (RFC 8446 D.4)
		var alert Alert
		contentType, content, direct, alert = r.open(p, record)
		if alert != 0 {
			return 0, r.refuse(alert, nil)
		}
	}
	if len(content) > maxContent {
		return 0, r.refuse(AlertRecordOverflow, nil)
	}
	if contentType != contentHandshake && len(r.message) > 0 { // RFC 8446 5.1
		return 0, r.refuse(AlertUnexpectedMessage, nil)
	}
	switch contentType {
	case contentData:
		if len(content) == 0 {
			return 0, r.ignore()
		}
		r.useless = 0
		if direct {
			return len(content), nil
		}
		r.plain = content
		return 0, nil
	case contentHandshake:
		if len(content) == 0 {
			return 0, r.refuse(AlertUnexpectedMessage, nil)
		}
		r.message = append(r.message, content...)
		return 0, r.takeMessages()
	case contentAlert:
		return 0, r.takeAlert(content)
	case contentChangeCipherSpec:
		if len(content) != 1 || content[0] != 1 {
			return 0, r.refuse(AlertDecodeError, nil)
		}
		return 0, r.ignore()
	}
	return 0, r.refuse(AlertUnexpectedMessage, nil)
}

// open opens record, into p if all that it may hold fits there, and else where it
// is. It returns the alert that is due if there is something wrong.
func (r *ownReader) open(p, record []byte) (contentType byte, content []byte, direct bool, alert Alert) {
	dst := record[recordHeader:recordHeader]
	if direct = len(record)-recordHeader-16 <= len(p); direct { // 16 bytes are the AEAD's tag
		dst = p[:0:len(p)]
	}
	inner, err := r.epoch.OpenInner(dst, record)
	if !direct {
		// Not less than before: what is moved to the front leaves its tail behind.
		r.dirty = max(r.dirty, len(r.buffer)-cap(r.raw))
	}
	switch {
	case err != nil:
		return 0, nil, false, AlertBadRecordMAC
	case record[0] != contentData:
		return 0, nil, false, AlertUnexpectedMessage
	case len(inner) > maxContent+1:
		return 0, nil, false, AlertRecordOverflow
	case len(inner) == 0:
		return contentData, nil, direct, 0 // crypto/tls takes it for an empty record
	}
	end := len(inner) - 1
	for end >= 0 && inner[end] == 0 {
		end--
	}
	if end < 0 {
		return 0, nil, false, AlertUnexpectedMessage
	}
	return inner[end], inner[:end], direct, 0
}

func (r *ownReader) takeAlert(content []byte) error {
	switch {
	case len(content) != 2:
		return r.refuse(AlertUnexpectedMessage, nil)
	case Alert(content[1]) == AlertCloseNotify:
		return r.final(io.EOF)
	case Alert(content[1]) == AlertUserCanceled:
		return r.ignore()
	}
	return r.final(&net.OpError{Op: "remote error", Err: wireAlert(content[1])})
}

// takeMessages takes the handshake messages that are complete.
func (r *ownReader) takeMessages() error {
	for len(r.message) >= messageHeader {
		m := r.message
		n, limit := int(m[1])<<16|int(m[2])<<8|int(m[3]), maxMessage
		if m[0] == messageCertificate {
			limit = maxCertificate
		}
		if n > limit {
			return r.refuse(AlertInternalError, fmt.Errorf("tls: handshake message of length %d bytes exceeds maximum of %d bytes", n, limit))
		}
		if n += messageHeader; len(m) < n {
			return nil
		}
		r.message = m[n:]
		if err := r.takeMessage(m[:n]); err != nil {
			return err
		}
	}
	if len(r.message) == 0 {
		r.message = nil
	}
	return nil
}

func (r *ownReader) takeMessage(m []byte) error {
	switch m[0] {
	case messageKeyUpdate:
		if len(m) != messageHeader+1 || m[messageHeader] > 1 {
			return r.refuse(AlertDecodeError, nil)
		}
	case messageNewSessionTicket:
		if !wellFormedTicket(m[messageHeader:]) {
			return r.refuse(AlertDecodeError, nil)
		}
	default:
		return r.refuse(AlertUnexpectedMessage, fmt.Errorf("tls: received unexpected handshake message of type %d", m[0]))
	}
	if r.useless++; r.useless > maxUseless {
		return r.refuse(AlertUnexpectedMessage, errors.New("tls: too many non-advancing records"))
	}
	if m[0] == messageKeyUpdate {
		return r.takeKeyUpdate(m[messageHeader] == 1)
	}
	if !r.client {
		return r.refuse(AlertUnexpectedMessage, errors.New("tls: received new session ticket from a client"))
	}
	if alert, err := r.tickets.take(m); err != nil {
		return r.refuse(alert, err)
	}
	return nil
}

func (r *ownReader) takeKeyUpdate(requested bool) error {
	if requested {
		r.wire.gate.OweKeyUpdate()
	}
	if len(r.message) > 0 { // it would be sealed with old keys and read as if with new ones (RFC 8446 5.1)
		return r.refuse(AlertUnexpectedMessage, errors.New("tls: handshake buffer not empty before setting read traffic secret"))
	}
	if err := r.epoch.Update(); err != nil {
		return r.refuse(AlertInternalError, err)
	}
	if alert, err := r.tickets.update(); err != nil {
		return r.refuse(alert, err)
	}
	return nil
}

// ignore counts a record that brings nothing.
func (r *ownReader) ignore() error {
	if r.useless++; r.useless > maxUseless {
		return r.refuse(AlertUnexpectedMessage, errors.New("tls: too many ignored records"))
	}
	return nil
}

// final keeps err, unless it is one after which the call can be made again: ErrWantRead.
func (r *ownReader) final(err error) error {
	if e, ok := err.(interface{ Temporary() bool }); !ok || !e.Temporary() {
		r.err = err
	}
	return err
}

// refuse ends the stream with an alert. err is what crypto/tls returns, or nil if that is
// the alert.
func (r *ownReader) refuse(a Alert, err error) error {
	local := &net.OpError{Op: "local error", Err: wireAlert(a)}
	r.wire.endSealed(a, local)
	if err == nil {
		err = local
	}
	return r.final(err)
}

func (r *ownReader) refuseHeader(a Alert, format string) error {
	header := [recordHeader]byte(r.raw)
	version, length := header[1:3], int(header[3])<<8|int(header[4])
	return r.refuse(a, tls.RecordHeaderError{Msg: fmt.Sprintf(format, version, length), RecordHeader: header})
}

// wireAlert is an alert as crypto/tls has it in its errors: see alertOf.
type wireAlert uint8

func (a wireAlert) Error() string { return "tls: " + Alert(a).String() }

// fetch reads until there are n bytes of ciphertext. Its errors are those of crypto/tls's
// readFromUntil.
func (r *ownReader) fetch(n int) error {
	for len(r.raw) < n {
		r.wanted = n
		err := r.wire.readTo(r)
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Lend makes room behind raw. It is called when there is something to read, where the transport can
// tell.
func (r *ownReader) Lend() []byte {
	if r.buffer == nil {
		r.buffer = rawBuffers.Get().(*rawBuffer)
		r.raw = r.buffer[:copy(r.buffer[:], r.raw)]
	} else if cap(r.raw) < r.wanted {
		r.raw = r.buffer[:copy(r.buffer[:], r.raw)]
	}
	return r.raw[len(r.raw):cap(r.raw)]
}

// TakeBack ends the loan.
func (r *ownReader) TakeBack(n int) {
	r.raw = r.raw[:len(r.raw)+n]
	if n == 0 {
		r.tidyLocked(true)
	}
}

// tidyLocked gives the buffer back where it holds nothing, and, if the caller is going to wait
// for its peer, where that is only the beginning of a record: a peer that sends a piece
// and stops must not cost a buffer for each connection.
func (r *ownReader) tidyLocked(waits bool) {
	r.wire.unopened.Store(int32(len(r.raw)))
	const little = 4 << 10
	var rest []byte
	switch {
	case r.buffer == nil || len(r.plain) > 0:
		return
	case len(r.raw) == 0:
	case waits && len(r.raw) < little:
		rest = slices.Clone(r.raw)
	default:
		return
	}
	clear(r.buffer[:r.dirty]) // another stream will have it
	rawBuffers.Put(r.buffer)
	r.buffer, r.raw, r.plain, r.dirty = nil, rest, nil, 0
}

// wipe ends the reader, at once or when the read in progress does.
func (r *ownReader) wipe() {
	r.closed.Store(true)
	if !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = net.ErrClosed
	}
	r.epoch.Wipe()
	r.tickets.wipe()
	clear(r.message)
	r.plain, r.raw, r.message = nil, nil, nil
	r.tidyLocked(false)
}
