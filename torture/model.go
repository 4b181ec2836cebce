package torture

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// The models of a TLS stream that TLS itself is compared with. Both run the same programs under the same kind of schedule.

var readBuffers = sync.Pool{New: func() any { return new([readBufferBytes]byte) }}

// A plainStream is the program over TCP alone.
type plainStream struct {
	*grantedConn
	peer *playLog
}

func (plainStream) Handshake() error { return nil }

var errCut = errors.New("the transport has ended, and the stream has not")

// Read tells a stream that was ended from one that was cut off, as TLS does and TCP cannot.
func (s plainStream) Read(p []byte) (int, error) {
	n, err := s.grantedConn.Read(p)
	if err == io.EOF && s.peer.cut {
		err = errCut
	}
	return n, err
}

// A framedStream is what no TLS can do without: records, which arrive as a whole or not at all, and an end of the stream
// that is a record itself, in front of the FIN (DESIGN: what stays TLS's own). It has no keys, and sends
// nothing that the application has not asked for. Where it ends otherwise than TCP, so may TLS.
type framedStream struct {
	*grantedConn
	largest int    // bytes of data in a record
	finless bool   // CloseWrite leaves the transport open, as crypto/tls does
	record  []byte // what has come of a record, from its header on
	content []byte // what is unread of the last record
	ended   bool
	closed  bool // the end was sent
}

func (*framedStream) Handshake() error { return nil }

const (
	frameHeader  = 5
	frameTrailer = recordOverhead - frameHeader
	endContent   = 2 // of an alert's content

	// smallFrame is what crypto/tls puts into the first records of a stream, so that each fits one segment of TCP (see
	// tls.Config.DynamicRecordSizingDisabled).
	smallFrame = 1186

	modelCloseTimeout = 5 * time.Second
)

func (s *framedStream) Write(p []byte) (int, error) {
	if s.closed {
		return 0, net.ErrClosed
	}
	n := 0
	for n < len(p) {
		k := min(len(p)-n, s.largest)
		if _, err := s.grantedConn.Write(frame(typeApplicationData, p[n:n+k])); err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

func frame(contentType byte, content []byte) []byte {
	record := make([]byte, 0, frameHeader+len(content)+frameTrailer)
	record = append(record, contentType, 3, 3)
	record = binary.BigEndian.AppendUint16(record, uint16(len(content)+frameTrailer))
	record = append(record, content...)
	return record[:cap(record)]
}

func (s *framedStream) Read(p []byte) (int, error) {
	for len(s.content) == 0 && !s.ended {
		if err := s.fill(frameHeader); err != nil {
			return 0, err
		}
		length := frameHeader + int(binary.BigEndian.Uint16(s.record[3:]))
		if err := s.fill(length); err != nil {
			return 0, err
		}
		s.ended = s.record[0] == typeAlert
		if !s.ended {
			s.content = s.record[frameHeader : length-frameTrailer]
		}
		s.record = nil
	}
	if s.ended {
		return 0, io.EOF
	}
	n := copy(p, s.content)
	s.content = s.content[n:]
	return n, nil
}

// fill reads until so many bytes of the record are there.
func (s *framedStream) fill(n int) error {
	for have := len(s.record); have < n; have = len(s.record) {
		s.record = append(s.record, make([]byte, n-have)...)
		k, err := s.grantedConn.Read(s.record[have:])
		s.record = s.record[:have+k]
		if err == io.EOF {
			return errCut
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// end sends the record that ends the stream.
func (s *framedStream) end() error {
	if s.closed {
		return nil
	}
	s.closed = true
	_, err := s.grantedConn.Write(frame(typeAlert, make([]byte, endContent)))
	return err
}

func (s *framedStream) CloseWrite() error {
	if err := s.end(); err != nil || s.finless {
		return err
	}
	return s.grantedConn.CloseWrite()
}

func (s *framedStream) Close() error {
	s.SetWriteDeadline(time.Now().Add(modelCloseTimeout)) // TLS does not wait for ever either
	err := s.end()
	return errors.Join(err, s.grantedConn.Close())
}

var _ net.Conn = (*framedStream)(nil)
