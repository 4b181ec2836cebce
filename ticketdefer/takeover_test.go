package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// inboundSecret is what KeepInbound has kept.
func inboundSecret(s *suite) []byte { return bytes.Repeat([]byte{0xcc}, s.hashLen) }

// forEachTakeOver is forEachGate with gates that can be taken over.
func forEachTakeOver(t *testing.T, f func(t *testing.T, s *stack, cipherSuite uint16)) {
	forEachGate(t, func(t *testing.T, s *stack) {
		s.gate.KeepInbound()
		s.gate.keepInbound(inboundSecret(s.app.suite))
		f(t, s, s.app.suite.id)
	})
}

// fresh is the epoch that the peer opens the gate's records with.
func (s *stack) fresh() *Epoch {
	e, err := NewEpoch(s.app.suite.id, s.peer.epochs[1].secret)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

func mustTakeOver(t *testing.T, s *stack, cipherSuite uint16, o TakeOverOptions) {
	t.Helper()
	inbound, err := s.gate.TakeOver(cipherSuite, o)
	if err != nil {
		t.Fatal(err)
	}
	want, err := NewEpoch(cipherSuite, inboundSecret(s.app.suite))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inbound.OpenInner(nil, want.Seal(nil, recordApplicationData, []byte("x"))); err != nil {
		t.Errorf("the epoch for reading: %v", err)
	}
}

// What was held is sealed anew from sequence number zero, and in front of the data; what the
// stack writes from then on goes nowhere.
func TestTakeOverSealsTheTicketAnew(t *testing.T) {
	forEachTakeOver(t, func(t *testing.T, s *stack, cipherSuite uint16) {
		s.handshake()
		tickets := ""
		for _, n := range []int{40_000} { // crypto/tls sends one
			s.ticket(n, maxPlaintext, 0)
			tickets += string(message(4, n))
		}
		before := s.gate.Stats()
		mustTakeOver(t, s, cipherSuite, TakeOverOptions{FullRecords: true})
		if due, err := s.gate.Filter(nil, s.app.Seal(nil, recordApplicationData, []byte("a nonce used twice"))); len(due) != 0 || err != nil {
			t.Fatalf("Filter: %d slices, %v", len(due), err)
		}
		s.gate.OweKeyUpdate()
		s.gate.OweKeyUpdate()
		held := s.gate.Stats()
		mustEqual(t, "held", before.HeldBytes+keyUpdateRecordLen, held.HeldBytes)
		mustEqual(t, "held records", before.HeldRecords+1, held.HeldRecords)

		wire, n, err := s.gate.SealDataLocked(nil, []byte("data"))
		if n != 4 || err != nil {
			t.Fatalf("SealDataLocked: %d, %v", n, err)
		}
		mustEqual(t, "bytes on the wire", held.HeldBytes+4+sealedOverhead, len(wire))
		wire = append(wire, s.gate.EndSealedLocked(alertCloseNotify, nil, ErrEnded)...)
		e, messages, data, alerts := s.fresh(), "", "", 0
		for _, record := range records(t, wire) {
			kind, content, err := e.Open(nil, record)
			if err != nil {
				t.Fatalf("behind %d bytes of messages: %v", len(messages), err)
			}
			switch {
			case kind == recordHandshake && bytes.Equal(content, keyUpdate):
				if err := e.Update(); err != nil {
					t.Fatal(err)
				}
			case kind == recordHandshake && data == "":
				messages += string(content)
			case kind == recordApplicationData:
				data += string(content)
			case kind == recordAlert:
				alerts++
			}
		}
		mustEqual(t, "tickets", tickets, messages)
		mustEqual(t, "data", "data", data)
		mustEqual(t, "alerts", 1, alerts)
		stats := s.gate.Stats()
		mustEqual(t, "stats", Stats{
			Deferral: DeferralOn, ReleasedRecords: int64(held.HeldRecords), ReleasedBytes: int64(held.HeldBytes),
			KeyUpdates: 2, CollapsedKeyUpdates: 1, Alerts: 1,
		}, stats)
		if _, _, err := s.gate.SealDataLocked(nil, []byte("behind")); !errors.Is(err, ErrEnded) {
			t.Errorf("behind close_notify: %v", err)
		}
	})
}

// Where a record may have left, or something is missing, the stack goes on by itself.
func TestTakeOverRefuses(t *testing.T) {
	for name, spoil := range map[string]func(s *stack, cipherSuite *uint16){
		"without the other secret":      func(s *stack, _ *uint16) { s.gate.wipeInbound() },
		"another suite":                 func(s *stack, id *uint16) { *id = otherSuite(*id) },
		"an unknown suite":              func(s *stack, id *uint16) { *id = tls.TLS_AES_128_GCM_SHA256 + 4 },
		"data has passed":               func(s *stack, _ *uint16) { s.data([]byte("x"), 0) },
		"an alert has passed":           func(s *stack, _ *uint16) { s.alert(alertUserCanceled) },
		"the ticket has left":           func(s *stack, _ *uint16) { s.receive(s.gate.Release()) },
		"a KeyUpdate is held":           func(s *stack, _ *uint16) { s.update(0) },
		"half a record has come":        func(s *stack, _ *uint16) { s.write([]byte{recordApplicationData, 3, 3}, false) },
		"what is held is no message":    func(s *stack, _ *uint16) { s.gate.held[len(s.gate.held)-1]++ },
		"deferral is off":               func(s *stack, _ *uint16) { s.gate.turnOff(DeferralTLS12) },
		"the gate has been wiped":       func(s *stack, _ *uint16) { s.gate.Wipe() },
		"it has been taken over before": func(s *stack, id *uint16) { s.gate.TakeOver(*id, TakeOverOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			forEachTakeOver(t, func(t *testing.T, s *stack, cipherSuite uint16) {
				s.handshake()
				s.ticket(300, maxPlaintext, 0)
				spoil(s, &cipherSuite)
				before := s.gate.Stats()
				if _, err := s.gate.TakeOver(cipherSuite, TakeOverOptions{}); err == nil {
					t.Fatal("it was taken over")
				}
				mustEqual(t, "stats", before, s.gate.Stats())
			})
		})
	}
}

func otherSuite(id uint16) uint16 {
	if id == tls.TLS_AES_128_GCM_SHA256 {
		return tls.TLS_CHACHA20_POLY1305_SHA256
	}
	return tls.TLS_AES_128_GCM_SHA256
}

// A stack that was refused goes on as if nobody had asked.
func TestTakeOverRefusedChangesNothing(t *testing.T) {
	forEachTakeOver(t, func(t *testing.T, s *stack, cipherSuite uint16) {
		s.handshake()
		s.ticket(300, maxPlaintext, 0)
		if _, err := s.gate.TakeOver(otherSuite(cipherSuite), TakeOverOptions{}); err == nil {
			t.Fatal("it was taken over")
		}
		s.data([]byte("response"), 0)
		s.check()
	})
}

// A key is changed before it is worn out.
func TestTakeOverUpdatesKeys(t *testing.T) {
	forEachTakeOver(t, func(t *testing.T, s *stack, cipherSuite uint16) {
		mustTakeOver(t, s, cipherSuite, TakeOverOptions{UpdateAfter: 3})
		e := s.fresh()
		for i := range 20 {
			wire, _, err := s.gate.SealDataLocked(nil, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			for _, record := range records(t, wire) {
				kind, _, err := e.Open(nil, record)
				if err != nil || e.Sequence() > 4 {
					t.Fatalf("record %d: sequence %d, %v", i, e.Sequence(), err)
				}
				if kind == recordHandshake {
					if err := e.Update(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// Secrets, and the ticket, do not outlive the gate.
func TestTakeOverIsWiped(t *testing.T) {
	forEachTakeOver(t, func(t *testing.T, s *stack, cipherSuite uint16) {
		s.handshake()
		s.ticket(300, maxPlaintext, 0)
		inbound := s.gate.inbound
		mustTakeOver(t, s, cipherSuite, TakeOverOptions{})
		secret, messages := s.gate.inner.secret, s.gate.own.messages
		s.gate.Wipe()
		for _, p := range [][]byte{inbound, secret, messages} {
			if len(p) == 0 || !bytes.Equal(p, make([]byte, len(p))) {
				t.Error("something was not overwritten")
			}
		}
		if _, _, err := s.gate.SealDataLocked(nil, []byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SealDataLocked: %v", err)
		}
		if due := s.gate.EndSealedLocked(alertCloseNotify, nil, ErrEnded); due != nil {
			t.Error("an alert is due")
		}
		if _, err := s.gate.Abort(80, cipherSuite, nil); !errors.Is(err, ErrEnded) {
			t.Errorf("Abort: %v", err)
		}
		s.gate.OweKeyUpdate()
		s.gate.Release()
	})
}
