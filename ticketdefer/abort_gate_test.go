package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// abortSuites are the cipher suites, and the length of their secrets.
var abortSuites = map[uint16]int{
	tls.TLS_AES_128_GCM_SHA256:       32,
	tls.TLS_AES_256_GCM_SHA384:       48,
	tls.TLS_CHACHA20_POLY1305_SHA256: 32,
}

func forAbortSuites(t *testing.T, f func(t *testing.T, suite uint16, secret []byte)) {
	for suite, n := range abortSuites {
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) { f(t, suite, bytes.Repeat([]byte{7}, n)) })
	}
}

func abortEpoch(t testing.TB, suite uint16, secret []byte) *Epoch {
	t.Helper()
	e, err := NewEpoch(suite, secret)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// An abortRecord is one record as the peer reads it.
type abortRecord struct {
	Type    byte
	Content string
}

var abortInternalError = abortRecord{recordAlert, "\x02\x50"}

// openAll opens records under the peer's epoch, which follows KeyUpdates.
func openAll(t testing.TB, peer *Epoch, due [][]byte) (out []abortRecord) {
	t.Helper()
	var f framer
	for p := slices.Concat(due...); len(p) > 0; {
		record, rest, err := f.next(p)
		if err != nil || record == nil {
			t.Fatalf("not whole records: %v", err)
		}
		p = rest
		contentType, content, err := peer.Open(nil, record)
		if err != nil {
			t.Fatalf("record %d does not open", len(out))
		}
		out = append(out, abortRecord{contentType, string(content)})
		if contentType == recordHandshake && content[0] == messageKeyUpdate {
			if err := peer.Update(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func filterAll(t testing.TB, g *Gate, p ...[]byte) [][]byte {
	t.Helper()
	var due [][]byte
	for _, p := range p {
		var err error
		if due, err = g.Filter(due, bytes.Clone(p)); err != nil {
			t.Fatal(err)
		}
	}
	return due
}

// The peer opens held records, a message and the alert in this order, in every epoch.
func TestAbortSealsTheAlertWhereThePeerIs(t *testing.T) {
	forAbortSuites(t, func(t *testing.T, suite uint16, secret []byte) {
		update := func(e *Epoch) []byte {
			record := e.Seal(nil, recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0})
			if err := e.Update(); err != nil {
				t.Fatal(err)
			}
			return record
		}
		updated := abortRecord{recordHandshake, "\x18\x00\x00\x01\x00"}
		ticket := append([]byte{4, 0, 0, 3}, "tkt"...)
		tests := []struct {
			name  string
			write func(e *Epoch) [][]byte // what the TLS stack writes
			want  []abortRecord           // before the message and the alert
		}{
			{"nothing", func(e *Epoch) [][]byte { return nil }, nil},
			{"a ticket", func(e *Epoch) [][]byte {
				return [][]byte{e.Seal(nil, recordHandshake, ticket)}
			}, []abortRecord{{recordHandshake, string(ticket)}}},
			{"data", func(e *Epoch) [][]byte {
				return [][]byte{e.Seal(nil, recordApplicationData, []byte("data")), e.Seal(nil, recordApplicationData, []byte("more"))}
			}, []abortRecord{{recordApplicationData, "data"}, {recordApplicationData, "more"}}},
			{"data and 2 updates", func(e *Epoch) [][]byte {
				return [][]byte{e.Seal(nil, recordApplicationData, []byte("data")), update(e), update(e)}
			}, []abortRecord{{recordApplicationData, "data"}, updated, updated}},
			{"data and 9 updates, collapsed", func(e *Epoch) (out [][]byte) {
				out = append(out, e.Seal(nil, recordApplicationData, []byte("data")))
				for range 9 {
					out = append(out, update(e))
				}
				return out
			}, []abortRecord{{recordApplicationData, "data"}, updated}},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				g := NewServerGate()
				g.AddSecret(secret)
				stack, peer := abortEpoch(t, suite, secret), abortEpoch(t, suite, secret)
				filterAll(t, g, abortSealedFlight(t))
				due := filterAll(t, g, test.write(stack)...)
				last, err := g.Abort(80, suite, []byte("\x04message"))
				if err != nil {
					t.Fatal(err)
				}
				want := append(test.want, abortRecord{recordHandshake, "\x04message"}, abortInternalError)
				if diff := cmp.Diff(want, openAll(t, peer, append(due, last...))); diff != "" {
					t.Errorf("the peer reads, -want +got:\n%s", diff)
				}
				if held := g.Stats().HeldRecords; held != 0 {
					t.Errorf("%d records are still held", held)
				}
				if late := filterAll(t, g, stack.Seal(nil, recordApplicationData, []byte("late"))); len(late) > 0 {
					t.Error("data passes after Abort")
				}
				if _, err := g.Abort(80, suite, nil); !errors.Is(err, ErrEnded) {
					t.Errorf("second Abort: %v", err)
				}
			})
		}
	})
}

// abortSealedFlight is a flight under handshake keys that the gate does not have.
func abortSealedFlight(t testing.TB) []byte {
	return abortEpoch(t, tls.TLS_AES_128_GCM_SHA256, make([]byte, 32)).Seal(nil, recordHandshake, []byte("\x08flight"))
}

// A client that has refused the server's flight by an alert of its own has used the first nonce of its handshake keys.
func TestAbortAfterAHandshakeAlertUsesAnotherNonce(t *testing.T) {
	forAbortSuites(t, func(t *testing.T, suite uint16, secret []byte) {
		g := NewClientGate()
		g.keepHandshakeSecret(secret)
		due := filterAll(t, g, abortEpoch(t, suite, secret).Seal(nil, recordAlert, []byte("\x02\x2a")))
		aborted, err := g.Abort(80, suite, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := openAll(t, abortEpoch(t, suite, secret), append(due, aborted...))
		if diff := cmp.Diff([]abortRecord{{recordAlert, "\x02\x2a"}, abortInternalError}, got); diff != "" {
			t.Errorf("the peer reads, -want +got:\n%s", diff)
		}
	})
}

// In which keys the peer is depends on what has been written, not on what has been computed.
func TestAbortBeforeTheApplicationEpoch(t *testing.T) {
	plain := []byte{recordAlert, 3, 3, 0, 2, alertLevelFatal, 80}
	forAbortSuites(t, func(t *testing.T, suite uint16, secret []byte) {
		handshake := bytes.Repeat([]byte{9}, len(secret))
		tests := []struct {
			name string
			gate *Gate
			then func(g *Gate)
			key  []byte // nil for none
		}{
			{"server, nothing written", NewServerGate(), func(g *Gate) {}, nil},
			// As when a callback runs that makes the ticket.
			{"server, flight not written", NewServerGate(), func(g *Gate) { g.AddSecret(secret) }, nil},
			{"server, flight written", NewServerGate(), func(g *Gate) {
				g.AddSecret(secret)
				filterAll(t, g, abortSealedFlight(t))
			}, secret},
			{"client, nothing received", NewClientGate(), func(g *Gate) {}, nil},
			{"client, ServerHello received", NewClientGate(), func(g *Gate) { g.keepHandshakeSecret(handshake) }, handshake},
			// As when a callback chooses the client's certificate.
			{"client, flight not written", NewClientGate(), func(g *Gate) {
				g.keepHandshakeSecret(handshake)
				g.AddSecret(secret)
			}, handshake},
			{"client, flight written", NewClientGate(), func(g *Gate) {
				g.keepHandshakeSecret(handshake)
				g.AddSecret(secret)
				filterAll(t, g, abortEpoch(t, suite, handshake).Seal(nil, recordHandshake, []byte("\x14finished")))
			}, secret},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				test.then(test.gate)
				due, err := test.gate.Abort(80, suite, nil)
				if err != nil {
					t.Fatal(err)
				}
				if test.key == nil {
					if diff := cmp.Diff(plain, slices.Concat(due...)); diff != "" {
						t.Errorf("-want +got:\n%s", diff)
					}
					return
				}
				got := openAll(t, abortEpoch(t, suite, test.key), due)
				if diff := cmp.Diff([]abortRecord{abortInternalError}, got); diff != "" {
					t.Errorf("the peer reads, -want +got:\n%s", diff)
				}
			})
		}
	})
}

func TestAbortWithoutKeys(t *testing.T) {
	tests := map[string]func() *Gate{
		"TLS 1.2": func() *Gate {
			g := NewServerGate()
			g.Disable(DeferralTLS12)
			return g
		},
		"no secret": func() *Gate {
			g := NewServerGate()
			for range maxTrials {
				filterAll(t, g, abortSealedFlight(t))
			}
			return g
		},
		"no secret, not given up": func() *Gate {
			g := NewServerGate()
			filterAll(t, g, abortSealedFlight(t))
			return g
		},
		"not TLS": func() *Gate {
			g := NewServerGate()
			filterAll(t, g, []byte("220 ready\r\n"))
			return g
		},
		"suite unknown": func() *Gate {
			g := NewServerGate()
			g.AddSecret(bytes.Repeat([]byte{7}, 32))
			filterAll(t, g, abortSealedFlight(t))
			return g
		},
	}
	for name, gate := range tests {
		if due, err := gate().Abort(80, 0, nil); !errors.Is(err, ErrNoKeys) || len(due) > 0 {
			t.Errorf("%s: %d slices and error %v, want none and ErrNoKeys", name, len(due), err)
		}
	}
}

// A peer that replays another connection's random makes its gate a candidate for that one's secret. An alert under it would
// use the nonce of that connection's first record.
func TestAbortDoesNotSealUnderAnothersSecret(t *testing.T) {
	forAbortSuites(t, func(t *testing.T, suite uint16, secret []byte) {
		for _, others := range [][]byte{bytes.Repeat([]byte{8}, len(secret)), secret} {
			g := NewServerGate()
			g.AddSecret(secret)
			filterAll(t, g, abortSealedFlight(t))
			g.AddSecret(others)
			same := bytes.Equal(others, secret) // as of a key log that is wrapped twice
			due, err := g.Abort(80, suite, nil)
			if same && err != nil || !same && (!errors.Is(err, ErrNoKeys) || len(due) > 0) {
				t.Errorf("the same secret twice: %v; Abort gave %d slices and %v", same, len(due), err)
			}
		}
	})
}

// A gate that has been wiped has forgotten its keys and what it held: nothing can be sent behind that.
func TestNothingPassesAfterAbortAndWipe(t *testing.T) {
	secret := make([]byte, 32)
	g := NewServerGate()
	g.AddSecret(secret)
	stack := abortEpoch(t, tls.TLS_AES_128_GCM_SHA256, secret)
	filterAll(t, g, stack.Seal(nil, recordApplicationData, []byte("data")))
	if _, err := g.Abort(80, 0, nil); err != nil {
		t.Fatal(err)
	}
	g.Wipe()
	due, _ := g.Filter(nil, stack.Seal(nil, recordApplicationData, []byte("late")))
	if len(due) > 0 {
		t.Error("data passes")
	}
}

// The suite is in the ServerHello, at a place that depends on the session id.
func TestCipherSuiteOf(t *testing.T) {
	hello := func(sessionID int) []byte {
		p := []byte{recordHandshake, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3}
		p = append(p, make([]byte, randomLen)...)
		p = append(p, byte(sessionID))
		p = append(p, make([]byte, sessionID)...)
		return append(p, 0x13, 0x02, 0)
	}
	for _, id := range []int{0, 1, 32} {
		p := hello(id)
		for n := range p {
			want := uint16(0)
			if n >= len(p)-1 {
				want = tls.TLS_AES_256_GCM_SHA384
			}
			if got := CipherSuiteOf(p[:n]); got != want {
				t.Errorf("session id of %d bytes, %d bytes: %#x, want %#x", id, n, got, want)
			}
		}
	}
	handshakes, noise := bytes.Repeat([]byte{recordHandshake}, 200), bytes.Repeat([]byte{0xff}, 200)
	for _, p := range [][]byte{nil, []byte("HTTP/1.1 400 Bad Request"), handshakes, noise} {
		if got := CipherSuiteOf(p); got != 0 {
			t.Errorf("%.10q: %#x, want none", p, got)
		}
	}
}
