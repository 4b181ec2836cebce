package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
)

// forEachGate runs f for both sides and all suites.
func forEachGate(t *testing.T, f func(t *testing.T, s *stack)) {
	t.Helper()
	for _, suite := range suites {
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/client=%v", tls.CipherSuiteName(suite.id), client), func(t *testing.T) {
				gate := NewServerGate()
				if client {
					gate = NewClientGate()
				}
				f(t, newStack(t, gate, suite))
			})
		}
	}
}

func TestTurnTicketWaitsForData(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		s.handshake()
		s.ticket(300, maxPlaintext, 0)
		s.ticket(64000, 16000, 0) // many records
		before := len(s.peer.raw)
		stats := s.gate.Stats()
		mustEqual(t, "held records", 6, stats.HeldRecords)
		s.data([]byte("response"), 0)
		mustEqual(t, "bytes released with the data", stats.HeldBytes+len("response")+sealedOverhead, len(s.peer.raw)-before)
		s.check()
		stats = s.gate.Stats()
		mustEqual(t, "stats", Stats{Deferral: DeferralOn, ReleasedRecords: 6, ReleasedBytes: stats.ReleasedBytes}, stats)
	})
}

// crypto/tls writes the ticket in one Write with the flight in front of it:
// the flight is due, the ticket is not.
func TestTurnCutFallsInsideOneWrite(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		flight := s.hs.Seal(nil, recordHandshake, message(20, 32))
		s.coalesce = true
		s.ticket(300, maxPlaintext, 0)
		p := append(bytes.Clone(flight), s.pending...)
		s.pending = nil
		s.write(p, false)
		mustEqual(t, "due", flight, s.peer.raw)
		s.deferral(DeferralOn)
		s.check()
	})
}

func TestTurnAlertTakesTheHeldAlong(t *testing.T) {
	for _, description := range []byte{alertCloseNotify, 80} {
		forEachGate(t, func(t *testing.T, s *stack) {
			s.handshake()
			s.ticket(300, maxPlaintext, 0)
			s.update(0)
			due, err := s.gate.Filter(nil, s.app.Seal(nil, recordAlert, []byte{2, description}))
			if err != nil {
				t.Fatal(err)
			}
			if len(due) != 2 {
				t.Fatalf("%d pieces due, want what was held and the alert", len(due))
			}
			s.receive(due)
			want := append(slices.Clone(s.wrote), opened{recordAlert, string([]byte{2, description})})
			mustEqual(t, "received", want, s.peer.got)
			mustEqual(t, "closed", description == alertCloseNotify, s.gate.Closed())
		})
	}
}

// Who says that close_notify comes next need not have a key made ready for it.
func TestExpectedCloseNotifyIsNotOpened(t *testing.T) {
	for _, expected := range []bool{false, true} {
		forEachGate(t, func(t *testing.T, s *stack) {
			s.handshake()
			s.data([]byte("data"), 0)
			if s.gate.inner.aead != nil {
				t.Fatal("the key is ready for nothing")
			}
			if expected {
				s.gate.ExpectCloseNotify()
			}
			due, err := s.gate.Filter(nil, s.app.Seal(nil, recordAlert, []byte{alertLevelWarning, alertCloseNotify}))
			if err != nil || len(due) != 1 {
				t.Fatal(len(due), err)
			}
			mustEqual(t, "key made", !expected, s.gate.inner.aead != nil)
			mustEqual(t, "closed", true, s.gate.Closed())
		})
	}
}

// Five bytes of application data make a record of a KeyUpdate's length, two
// bytes one of an alert's. They must go out at once.
func TestTurnDataOfTellingLengthIsData(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		s.handshake()
		for i := range 60 {
			s.data(bytes.Repeat([]byte{messageKeyUpdate}, i%9), 0)
			s.data(keyUpdate, 0) // the very bytes, as data
			s.data(closeNotify, 0)
			s.update(0)
			mustEqual(t, "received", len(s.wrote), len(s.peer.got))
			mustEqual(t, "held", keyUpdateRecordLen, s.gate.Stats().HeldBytes)
		}
		s.check()
		s.deferral(DeferralOn)
	})
}

// The end of a ticket may look like a KeyUpdate, in a record of its own.
func TestOrderTicketThatLooksLikeAKeyUpdate(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		s.handshake()
		m := append([]byte{4, 0, 0, 13}, "12345678"...)
		m = append(m, keyUpdate...)
		s.note(opened{recordHandshake, string(m)})
		for _, part := range [][]byte{m[:2], m[2:3], m[3:12], m[12:]} {
			s.emit(s.app.Seal(nil, recordHandshake, part), true)
		}
		s.update(0)
		s.data([]byte("data"), 0)
		s.check()
		s.deferral(DeferralOn)
		mustEqual(t, "updates", 1, s.peer.updates)
	})
}

// Every order of a few kinds of records, up to four in a row, and then data:
// small and complete before large and random.
func TestOrderOfEveryShortScript(t *testing.T) {
	steps := map[byte]func(*stack){
		't': func(s *stack) { s.ticket(40, 30, 0) },
		'u': func(s *stack) { s.update(0) },
		'U': func(s *stack) {
			for range maxHeldKeyUpdates + 2 {
				s.update(0)
			}
		},
		'd': func(s *stack) { s.data([]byte("five!"), 0) },
		'r': func(s *stack) { s.release() },
		'a': func(s *stack) { s.alert(90) },
		'c': func(s *stack) { s.alert(alertCloseNotify) },
	}
	names := "tuUdrac"
	scripts := []string{""}
	for level := 0; level < len(scripts); level++ {
		if len(scripts[level]) < 4 {
			for _, name := range names {
				scripts = append(scripts, scripts[level]+string(name))
			}
		}
	}
	suite := suites[0]
	var script string
	defer func() {
		if t.Failed() {
			t.Logf("script %q", script)
		}
	}()
	for _, script = range scripts {
		s := newStack(t, NewServerGate(), suite)
		for i := range len(script) {
			steps[script[i]](s)
		}
		s.data([]byte("the end"), 0)
		s.check()
	}
	if want := (7*7*7*7*7 - 1) / 6; len(scripts) != want {
		t.Errorf("%d scripts, want %d", len(scripts), want)
	}
}

func TestOrderOfRandomScripts(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		script := make([]byte, 300)
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runScript(t, script) })
	}
}

// What a stack writes after Wipe is no application data, whatever came before it.
func TestSawDataIsOfTheLastRecord(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		s.handshake()
		s.data([]byte("hello"), 0)
		if !s.gate.SawDataLocked() { // nobody else calls the gate
			t.Fatal("the gate has not seen application data")
		}
		s.gate.Wipe()
		if _, err := s.gate.FilterLocked(nil, make([]byte, keyUpdateRecordLen)); !errors.Is(err, net.ErrClosed) || s.gate.SawDataLocked() {
			t.Errorf("after Wipe: %v, data: %v", err, s.gate.SawDataLocked())
		}
	})
}
