package ticketdefer

import (
	"bytes"
	"net"
	"slices"
	"testing"
)

// helloRecords makes the records of a ClientHello whose message is cut every
// cut bytes.
func helloRecords(cut int) []byte {
	m := message(messageClientHello, 300)
	m[4], m[5] = 3, 3
	var p []byte
	for part := range slices.Chunk(m, cut) {
		p = append(p, recordHandshake, 3, 1, byte(len(part)>>8), byte(len(part)))
		p = append(p, part...)
	}
	return p
}

// parseHello looks for a ClientHello at the beginning of p, in the plainest way:
// join the records, then look. It returns where the record that completes the
// random ends.
func parseHello(p []byte) (random []byte, end int, found bool) {
	var m []byte
	for pos := 0; len(p)-pos >= 5; {
		n := int(p[pos+3])<<8 + int(p[pos+4])
		if p[pos] != recordHandshake || p[pos+1] != 3 || n == 0 || recordHeaderLen+n > maxRecordLen {
			return nil, 0, false
		}
		body := p[pos+5:]
		m = append(m, body[:min(n, len(body))]...)
		pos += 5 + n
		if len(m) >= helloPrefixLen {
			return m[6:38], pos, m[0] == messageClientHello && m[4] == 3
		}
		if pos > len(p) {
			break
		}
	}
	return nil, 0, false
}

// Any split of a stream that begins with a ClientHello finds the same random,
// and where its record ends.
func FuzzHelloSniffer(f *testing.F) {
	for _, cut := range []int{1, 2, 5, 37, 300, 1000} {
		f.Add(helloRecords(cut), []byte{1, 1, 1, 1, 1, 1, 30, 2, 2})
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{3})
	f.Add([]byte{recordHandshake, 3, 1, 0, 0, recordHandshake, 3, 1}, []byte{1})
	f.Fuzz(func(t *testing.T, p, cuts []byte) {
		if len(p) > maxFuzzInput {
			return
		}
		want, wantEnd, wantFound := parseHello(p)
		var s helloSniffer
		fed := 0
		for _, chunk := range chunks(p, cuts) {
			used, skip, found := s.sniff(chunk)
			if !found {
				if used != 0 || skip != 0 {
					t.Fatalf("found nothing, used %d, skip %d", used, skip)
				}
				fed += len(chunk)
				continue
			}
			if used < 0 || used > len(chunk) || skip < 0 || skip > maxRecordLen {
				t.Fatalf("used %d of %d, skip %d", used, len(chunk), skip)
			}
			if wantFound {
				random := s.random()
				mustEqual(t, "random", want, random[:])
				mustEqual(t, "end of the record", wantEnd, fed+used+skip)
			} else if len(chunk) == len(p) {
				t.Fatal("found a ClientHello where there is none")
			}
			return
		}
		if wantFound {
			t.Fatal("a ClientHello was not found")
		}
	})
}

// A tape is a transport that keeps what is written, and has what is to be read.
type tape struct {
	net.Conn
	in  [][]byte
	out bytes.Buffer
}

func (c *tape) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *tape) CloseWrite() error           { return nil }
func (c *tape) Close() error                { return nil }

func (c *tape) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(p, c.in[0])
	if c.in[0] = c.in[0][n:]; len(c.in[0]) == 0 {
		c.in = c.in[1:]
	}
	return n, nil
}

// Whatever an application that speaks no TLS reads and writes passes unchanged.
// Bytes may look like a ClientHello, and wait like records then; none is lost.
func FuzzConnPlaintext(f *testing.F) {
	f.Add([]byte("220 ready\r\n234 go ahead\r\n"), []byte("AUTH TLS\r\n"), []byte{11}, false)
	f.Add(helloRecords(1000), []byte("not TLS"), []byte{1, 1, 1, 200}, false)
	f.Add([]byte("plain"), helloRecords(100), []byte{3, 3}, true)
	f.Add(append(helloRecords(40), recordChangeCipherSpec, 3, 3, 0, 1, 1, recordApplicationData, 3, 3, 0, 9, 'x'), helloRecords(1), []byte{40, 40, 40}, true)
	f.Fuzz(func(t *testing.T, out, in, cuts []byte, readFirst bool) {
		if len(out) > maxFuzzInput || len(in) > maxFuzzInput {
			return
		}
		transport := &tape{in: slices.DeleteFunc(chunks(in, cuts), func(p []byte) bool { return len(p) == 0 })}
		c := WrapConn(transport)
		defer c.Close()
		read := func() {
			var got []byte
			buf := make([]byte, 100)
			for {
				n, err := c.Read(buf)
				got = append(got, buf[:n]...)
				if err != nil {
					break
				}
			}
			if !bytes.Equal(got, in) {
				t.Fatalf("read %x, want %x", got, in)
			}
		}
		if readFirst {
			read()
		}
		for _, chunk := range chunks(out, cuts) {
			if n, err := c.Write(bytes.Clone(chunk)); n != len(chunk) || err != nil {
				t.Fatalf("Write of %d = %d, %v", len(chunk), n, err)
			}
		}
		if !readFirst {
			read()
		}
		s := c.session.Load()
		if s == nil && !bytes.Equal(transport.out.Bytes(), out) {
			t.Fatalf("wrote %x, the transport got %x", out, transport.out.Bytes())
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got := bytes.Clone(transport.out.Bytes())
		if s != nil {
			got = append(got, s.gate.frames.partial...)
		}
		if !bytes.Equal(got, out) {
			t.Fatalf("wrote %x, the transport got %x, with what is left", out, got)
		}
	})
}
