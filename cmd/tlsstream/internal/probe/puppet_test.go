package probe

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A puppet is a server that does what its test says: a peer with the keys of the other side.
type puppet struct {
	*peer
	t *testing.T
}

// servePuppet plays a script on each connection of the probe.
func servePuppet(t *testing.T, script func(p *puppet)) string {
	config := testCA.ServerConfig()
	config.SessionTicketsDisabled = true
	return serve(t, listen(t), func(c net.Conn) {
		h := new(handshake)
		own := config.Clone()
		own.KeyLogWriter = &h.keys
		conn := tls.Server(&transport{Conn: c}, own)
		if conn.Handshake() != nil {
			return // crypto/tls resuming, or a test that is over
		}
		h.suite = conn.ConnectionState().CipherSuite
		in, inErr := h.epoch("CLIENT_TRAFFIC_SECRET_0")
		out, outErr := h.epoch("SERVER_TRAFFIC_SECRET_0")
		if err := errors.Join(inErr, outErr); err != nil {
			t.Error(err)
			return
		}
		script(&puppet{&peer{conn: c, in: in, out: out}, t})
	})
}

// until reads to the first event of a kind; false if the stream ends before.
func (p *puppet) until(k kind) bool {
	for {
		events, err := p.watch(time.Millisecond, time.Now().Add(testTimeout))
		for _, e := range events {
			if e.kind == k {
				return true
			}
		}
		if err != nil || p.ended {
			return false
		}
	}
}

// ticketMessage is a NewSessionTicket that holds size bytes.
func ticketMessage(size int) []byte {
	body := []byte{0, 0, 0, 60, 0, 0, 0, 0, 1, 7, byte(size >> 8), byte(size)}
	body = append(body, make([]byte, size)...)
	body = append(body, 0, 0)
	return append([]byte{messageTicket, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

func (p *puppet) sendTicket(size int) {
	message := ticketMessage(size)
	for len(message) > 0 {
		n := min(len(message), maxPlaintext)
		p.send(recordHandshake, message[:n])
		message = message[n:]
	}
}

func TestPuppetServers(t *testing.T) {
	for _, test := range []struct {
		name  string
		serve func(p *puppet)
		check func(t *testing.T, r *Report)
	}{
		{"never answers a KeyUpdate", func(p *puppet) {
			if p.until(data) {
				p.sendData([]byte("hello"))
			}
			p.until(fin)
		}, func(t *testing.T, r *Report) {
			equal(t, NotAtAll, r.KeyUpdate.Answer)
			equal(t, Safe, r.Safety())
		}},
		{"refuses a KeyUpdate", func(p *puppet) {
			if p.until(keyUpdate) {
				p.send(recordAlert, []byte{alertFatal, 10})
			}
		}, func(t *testing.T, r *Report) {
			equal(t, Refused, r.KeyUpdate.Answer)
			equal(t, "fatal alert (unexpected_message)", r.KeyUpdate.Note)
			equal(t, Unsafe, r.Verdicts[0].Verdict)
		}},
		{"a ticket larger than small buffers", func(p *puppet) {
			p.sendTicket(60_000)
			p.until(fin)
		}, func(t *testing.T, r *Report) {
			equal(t, 1, r.Tickets.Count)
			equal(t, len(ticketMessage(60_000)), r.Tickets.Each[0].Bytes)
			// Four records, with a header, a type and a tag each.
			equal(t, len(ticketMessage(60_000))+4*(headerBytes+1+16), r.Tickets.Bytes)
			equal(t, Unsafe, r.Verdicts[2].Verdict)
		}},
		{"a greeting, and the ticket and the answer with it", func(p *puppet) {
			ticket := p.out.Seal(nil, recordHandshake, ticketMessage(100))
			p.conn.Write(p.out.Seal(ticket, recordData, []byte("220 hello\r\n")))
			if !p.until(keyUpdate) {
				return
			}
			p.until(data)
			answer := p.out.Seal(nil, recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0})
			p.out.Update()
			p.conn.Write(p.out.Seal(answer, recordData, []byte("500 what?\r\n")))
			p.until(fin)
		}, func(t *testing.T, r *Report) {
			equal(t, WithData, r.Tickets.When)
			equal(t, 0, r.Tickets.UnaskedCount)
			equal(t, Deferred, r.KeyUpdate.Answer)
			equal(t, Safe, r.Safety())
		}},
		{"a ticket and an answer for the first bytes, and nothing else", func(p *puppet) {
			if p.until(data) {
				p.sendTicket(100)
				p.send(recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0})
				p.out.Update()
			}
			p.until(fin)
		}, func(t *testing.T, r *Report) {
			equal(t, AfterBytes, r.Tickets.When)
			equal(t, 1, r.Tickets.UnaskedCount)
			equal(t, AtOnce, r.KeyUpdate.Answer)
			equal(t, Unsafe, r.Verdicts[0].Verdict)
		}},
		{"a response that ends with FIN", func(p *puppet) {
			if p.until(data) {
				p.sendData([]byte("HTTP/1.0 200 OK\r\n\r\nhello"))
			}
		}, func(t *testing.T, r *Report) {
			equal(t, EndReport{Ending: EndFIN, After: AfterBytes}, r.End)
			equal(t, Unsafe, r.Verdicts[2].Verdict)
			equal(t, Safe, r.Verdicts[0].Verdict)
			equal(t, []string{endProperly, behindProxy}, r.Remedies)
		}},
		{"a stream that stays open", func(p *puppet) {
			p.until(fin)
			p.until(reset)
			p.conn.Read(make([]byte, 1))
		}, func(t *testing.T, r *Report) { equal(t, EndReport{Ending: EndNone, After: AtEnd}, r.End) }},
		{"more data than a probe reads", func(p *puppet) {
			chunk := bytes.Repeat([]byte("x"), maxPlaintext)
			for p.sendData(chunk) == nil {
			}
		}, func(t *testing.T, r *Report) { equal(t, Never, r.Tickets.When) }},
		{"a reset", func(p *puppet) {
			p.until(data)
			p.conn.(*net.TCPConn).SetLinger(0)
		}, func(t *testing.T, r *Report) { equal(t, EndReport{Ending: EndReset, After: AfterBytes}, r.End) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.check(t, probe(t, Options{Address: servePuppet(t, test.serve)}))
		})
	}
}

// A server that is never silent for as long as the probe waits.
func TestServerThatIsNeverSilent(t *testing.T) {
	const wait = 100 * time.Millisecond
	address := servePuppet(t, func(p *puppet) {
		tick := time.NewTicker(wait / 10)
		defer tick.Stop()
		for p.sendData([]byte("tick")) == nil {
			<-tick.C
		}
	})
	r, err := Run(t.Context(), Options{Address: address, Roots: testCA.Pool(), Wait: wait, Timeout: testTimeout})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, NotAtAll, r.KeyUpdate.Answer)
	equal(t, Safe, r.Safety())
}

// What TLS forbids ends the probe, and nothing in it grows without bound.
func TestPuppetServersThatBreakTLS(t *testing.T) {
	for _, test := range []struct {
		name, says string
		serve      func(p *puppet)
	}{
		{"a record that does not open", "does not open", func(p *puppet) {
			p.conn.Write(append([]byte{recordData, 3, 3, 0, 32}, make([]byte, 32)...))
			p.until(fin)
		}},
		{"a record that is too long", "a record of 65535 bytes", func(p *puppet) {
			p.conn.Write([]byte{recordData, 3, 3, 255, 255})
			p.until(fin)
		}},
		{"a message that is too long", "a handshake message of 16777219 bytes", func(p *puppet) {
			p.send(recordHandshake, []byte{messageTicket, 255, 255, 255, 0})
			p.until(fin)
		}},
		{"a record of an unknown type", "a record of type 99", func(p *puppet) {
			p.send(99, []byte("x"))
			p.until(fin)
		}},
		{"an alert of three bytes", "an alert that is none", func(p *puppet) {
			p.send(recordAlert, []byte{1, 2, 3})
			p.until(fin)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Run(t.Context(), Options{Address: servePuppet(t, test.serve), Roots: testCA.Pool(), Timeout: testTimeout})
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Class != NotTLS || e.Side != "server" || e.Stage != stageWatch || !strings.Contains(e.Error(), test.says) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func equal[T any](t *testing.T, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Hundreds of thousands of tickets, one message of a few bytes each, must not take the probe beyond its time, nor fill
// its report.
func TestTicketsWithoutEnd(t *testing.T) {
	record := bytes.Repeat([]byte{messageTicket, 0, 0, 0}, maxPlaintext/messageHeader)
	address := servePuppet(t, func(p *puppet) {
		for range 2 * maxPhaseBytes / len(record) {
			if p.send(recordHandshake, record) != nil {
				return
			}
		}
		p.until(fin)
	})
	start := time.Now()
	r, err := Run(t.Context(), Options{Address: address, Roots: testCA.Pool(), Wait: 100 * time.Millisecond, Timeout: 5 * time.Second})
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err == nil && r.Tickets.Count == 0 {
		t.Error("blind: no tickets were seen")
	}
	if n := len(r.Tickets.Each); n > maxListed {
		t.Errorf("%d tickets are listed", n)
	}
}

// What the last connections bring about is printed, too.
func TestEscapesOfALaterCertificateAreNotPrinted(t *testing.T) {
	evil := testCA.Server("\x1b[2Jevil.example")
	good := testCA.ServerConfig()
	good.SessionTicketsDisabled = false
	var connections atomic.Int32
	address := serve(t, listen(t), func(c net.Conn) {
		config := good
		if connections.Add(1) > 3 {
			config = &tls.Config{Certificates: []tls.Certificate{evil}}
		}
		conn := tls.Server(c, config)
		if conn.Handshake() == nil {
			swallow(conn)
		}
	})
	r, err := Run(t.Context(), Options{Address: address, ServerName: "localhost", Roots: testCA.Pool(), Wait: 100 * time.Millisecond, Timeout: testTimeout})
	if err != nil {
		t.Fatal(err)
	}
	if note := r.Resumption.Note; !strings.Contains(note, "evil") || strings.Contains(note, "\x1b") {
		t.Errorf("the note is %q", note)
	}
}
