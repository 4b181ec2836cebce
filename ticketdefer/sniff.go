package ticketdefer

// A helloSniffer looks for a ClientHello in a stream that may carry plaintext
// first (FTP's AUTH TLS, STARTTLS), and takes its random. It copies nothing
// else and holds nothing back.
//
// A ClientHello is looked for only where a chunk begins. Protocols that
// upgrade have the client wait for the server's word before it starts TLS, so
// its first record never shares a chunk with plaintext.
type helloSniffer struct {
	active  bool // in the middle of what looks like a ClientHello
	header  [recordHeaderLen]byte
	have    int // bytes of header seen
	left    int // bytes of the record's body still to come
	message [helloPrefixLen]byte
	got     int // bytes of message seen
}

// helloPrefixLen reaches from the message type to the end of random (RFC 8446
// 4.1.2).
const helloPrefixLen = messageHeaderLen + 2 + randomLen

// sniff takes the next chunk of the stream. When the random is complete it
// reports true; skip is then how many bytes of the same record follow behind
// chunk[:used].
func (s *helloSniffer) sniff(chunk []byte) (used, skip int, found bool) {
	if !s.active {
		if len(chunk) == 0 || chunk[0] != recordHandshake {
			return 0, 0, false
		}
		*s = helloSniffer{active: true}
	}
	p := chunk
	for len(p) > 0 {
		if s.left == 0 {
			n := copy(s.header[s.have:], p)
			s.have += n
			p = p[n:]
			if s.header[0] != recordHandshake || s.have > 1 && s.header[1] != 3 {
				s.active = false
				return 0, 0, false
			}
			if s.have < recordHeaderLen {
				return 0, 0, false
			}
			length, err := checkHeader(s.header[:])
			if err != nil || length == recordHeaderLen {
				s.active = false
				return 0, 0, false
			}
			s.left, s.have = length-recordHeaderLen, 0
			continue
		}
		n := copy(s.message[s.got:], p[:min(s.left, len(p))])
		s.got += n
		s.left -= n
		p = p[n:]
		if s.got > 0 && s.message[0] != messageClientHello || s.got > messageHeaderLen && s.message[messageHeaderLen] != 3 {
			s.active = false
			return 0, 0, false
		}
		if s.got == helloPrefixLen {
			s.active = false
			return len(chunk) - len(p), s.left, true
		}
	}
	return 0, 0, false
}

// random is valid after sniff reported true.
func (s *helloSniffer) random() (random [randomLen]byte) {
	copy(random[:], s.message[messageHeaderLen+2:])
	return random
}
