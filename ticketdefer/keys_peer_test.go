package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// An opened record, for comparison.
type opened struct {
	Type    byte
	Content string
}

// openWire opens what one side wrote after its handshake keys: the first
// record that opens begins the epoch, and everything behind it must open too.
func openWire(t *testing.T, e *Epoch, writes [][]byte) (out []opened) {
	t.Helper()
	for i, record := range records(t, slices.Concat(writes...)) {
		contentType, content, err := e.Open(nil, record)
		if err != nil {
			if len(out) > 0 {
				t.Fatalf("record %d does not open, %d before it did", i, len(out))
			}
			continue
		}
		if contentType == recordHandshake && bytes.Equal(content, keyUpdate) {
			if err := e.Update(); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, opened{contentType, string(content)})
	}
	return out
}

// An Epoch opens every record that two TLS stacks of other authors wrote to
// each other, for all three suites.
func TestEpochOpensWhatRealPeersSeal(t *testing.T) {
	for _, s := range suites {
		t.Run(tls.CipherSuiteName(s.id), func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			serverWire, clientWire, log := &recorder{Conn: a}, &recorder{Conn: b}, new(keyLog)
			server := tls.Server(serverWire, testCA.ServerConfig())
			client := utlsClient(t, clientWire, s.id, log)
			shake(t, server, client)
			mustEqual(t, "suite", s.id, client.ConnectionState().CipherSuite)

			long := strings.Repeat("0123456789abcdef", 2048)
			exchange(t, client, server, "five!")
			exchange(t, server, client, long)
			exchange(t, client, server, long)
			exchange(t, server, client, "x")
			client.Close()
			server.Close()

			fromClient := openWire(t, newEpochFor(t, s, log, labelClientTraffic), clientWire.take())
			fromServer := openWire(t, newEpochFor(t, s, log, labelServerTraffic), serverWire.take())
			mustEqual(t, "from client", []opened{{recordApplicationData, "five!" + long}, {recordAlert, string(closeNotify)}}, joinData(fromClient))
			if fromServer[0].Type != recordHandshake || fromServer[0].Content[0] != 4 {
				t.Fatalf("the server's first record is of type %d, want a ticket", fromServer[0].Type)
			}
			mustEqual(t, "from server", []opened{{recordApplicationData, long + "x"}, {recordAlert, string(closeNotify)}}, joinData(fromServer[1:]))
		})
	}
}

func newEpochFor(t *testing.T, s *suite, log *keyLog, label string) *Epoch {
	t.Helper()
	e, err := NewEpoch(s.id, log.secret(t, label))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// joinData joins records of application data: how a stack cuts them is its own affair.
func joinData(in []opened) (out []opened) {
	for _, r := range in {
		if n := len(out); r.Type == recordApplicationData && n > 0 && out[n-1].Type == r.Type {
			out[n-1].Content += r.Content
			continue
		}
		out = append(out, r)
	}
	return out
}

// crypto/tls opens what an Epoch seals, padding included, and both agree on
// the keys after each of many KeyUpdates, in both directions.
func TestEpochAgreesWithRealPeersAfterKeyUpdates(t *testing.T) {
	for _, s := range suites {
		t.Run(tls.CipherSuiteName(s.id), func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			server, log := tls.Server(a, testCA.ServerConfig()), new(keyLog)
			client := utlsClient(t, &exactReader{Conn: b}, s.id, log)
			shake(t, server, client)
			p := newPuppet(t, b, s.id, log, labelClientTraffic, labelServerTraffic)
			for i := range 20 {
				word := strings.Repeat("w", i+1)
				flight := sealPadded(p.out, nil, recordApplicationData, []byte(word), i)
				flight = p.sealUpdate(flight, keyUpdateRequested)
				flight = p.sealUpdate(flight, keyUpdate) // and one that wants no answer
				mustWrite(t, p, p.sealData(flight, word))
				mustEqual(t, "read", word+word, string(mustRead(t, server, 2*len(word))))
				mustWrite(t, server, []byte(word))
				p.expect(t, word)
				mustEqual(t, "answers", i+1, p.updates)
			}
			mustEqual(t, "sequence", uint64(1), p.in.Sequence()) // counts from zero in each epoch
		})
	}
}
