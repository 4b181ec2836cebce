package ticketdefer

import "errors"

// Record and message types, RFC 8446 sections 5.1 and 4.
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23

	messageClientHello = 1
	messageKeyUpdate   = 24

	alertCloseNotify  = 0
	alertUserCanceled = 90
)

const (
	recordHeaderLen  = 5
	messageHeaderLen = 4

	// maxPlaintext is the most content one record carries (RFC 8446 5.1).
	maxPlaintext = 1 << 14

	// maxRecordLen bounds what a framer keeps of one record: TLS 1.2 allows
	// 2048 bytes of expansion (RFC 5246 6.2.3), TLS 1.3 only 256.
	maxRecordLen = recordHeaderLen + maxPlaintext + 2048

	// sealedOverhead is what protection adds to content in TLS 1.3 when there
	// is no padding: header, inner content type, AEAD tag. All three suites
	// have a tag of 16 bytes.
	sealedOverhead = recordHeaderLen + 1 + 16

	// keyUpdateRecordLen and alertRecordLen are the lengths on the wire of the
	// two post-handshake records that matter once application data flows.
	// crypto/tls never pads, so nothing of another length can be one of them.
	keyUpdateRecordLen = sealedOverhead + messageHeaderLen + 1
	alertRecordLen     = sealedOverhead + 2
)

var errNotRecords = errors.New("ticketdefer: not TLS records")

// checkHeader returns the length of the whole record that header begins, or
// errNotRecords when no TLS record begins so.
func checkHeader(header []byte) (int, error) {
	n := recordHeaderLen + int(header[3])<<8 + int(header[4])
	if header[0] < recordChangeCipherSpec || header[0] > recordApplicationData || header[1] != 3 || n > maxRecordLen {
		return 0, errNotRecords
	}
	return n, nil
}

// isSealedRecord reports whether p is one whole record that looks like application
// data, as all of TLS 1.3 do once there are keys.
func isSealedRecord(p []byte) bool {
	return len(p) > sealedOverhead && p[0] == recordApplicationData && p[1] == 3 && recordHeaderLen+int(p[3])<<8+int(p[4]) == len(p)
}

// A framer cuts a byte stream into TLS records, in whatever chunks it arrives:
// the same bytes give the same records. A record that lies whole in one chunk
// is not copied.
type framer struct {
	// partial is the beginning of a record whose end has not come; nil
	// between records, and never longer than maxRecordLen.
	partial []byte
}

// next takes the first record off p. It returns a nil record when p ends
// before the record does; p is then consumed and kept. The record aliases p, or
// is memory that the framer has given up. After errNotRecords the framer is
// where it was, and unread holds what it kept.
func (f *framer) next(p []byte) (record, rest []byte, err error) {
	if len(f.partial) == 0 && len(p) >= recordHeaderLen {
		n, err := checkHeader(p)
		if err != nil {
			return nil, p, err
		}
		if len(p) >= n {
			return p[:n:n], p[n:], nil
		}
	}
	if missing := recordHeaderLen - len(f.partial); missing > 0 {
		take := min(missing, len(p))
		f.partial = append(f.partial, p[:take]...)
		p = p[take:]
		if len(f.partial) < recordHeaderLen {
			return nil, nil, nil
		}
	}
	n, err := checkHeader(f.partial)
	if err != nil {
		return nil, p, err
	}
	take := min(n-len(f.partial), len(p))
	f.partial = append(f.partial, p[:take]...)
	if len(f.partial) < n {
		return nil, nil, nil
	}
	record, f.partial = f.partial, nil
	return record, p[take:], nil
}

// unread gives back what the framer keeps of an unfinished record.
func (f *framer) unread() []byte {
	p := f.partial
	f.partial = nil
	return p
}

// A messageScanner follows handshake messages through records, which may hold
// several of them or a piece of one (RFC 8446 5.1), so that the middle of a
// ticket is never taken for a KeyUpdate.
type messageScanner struct {
	header [messageHeaderLen]byte
	have   int // bytes of header seen
	left   int // bytes of the message's body still to come
}

// scan takes the content of one handshake record. It reports whether the
// content is exactly one KeyUpdate message, and its request_update byte.
func (s *messageScanner) scan(content []byte) (keyUpdate bool, request byte) {
	if s.have == 0 && len(content) == messageHeaderLen+1 &&
		content[0] == messageKeyUpdate && content[1] == 0 && content[2] == 0 && content[3] == 1 {
		return true, content[messageHeaderLen]
	}
	for len(content) > 0 {
		if s.have < messageHeaderLen {
			n := copy(s.header[s.have:], content)
			s.have += n
			content = content[n:]
			if s.have < messageHeaderLen {
				return false, 0
			}
			s.left = int(s.header[1])<<16 | int(s.header[2])<<8 | int(s.header[3])
		}
		n := min(s.left, len(content))
		s.left -= n
		content = content[n:]
		if s.left == 0 {
			s.have = 0
		}
	}
	return false, 0
}
