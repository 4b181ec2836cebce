package ticketdefer

import (
	"bytes"
	"fmt"
	"testing"
)

// What is held does not grow with what the peer asks for, and neither does
// what the gate reserves.
func TestBoundedHeldKeyUpdates(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		s.handshake()
		const limit = maxHeldKeyUpdates * keyUpdateRecordLen
		for round := range 5 {
			for range 200 {
				s.update(0)
				if n := s.gate.Stats().HeldBytes; n > limit {
					t.Fatalf("%d bytes held, want at most %d", n, limit)
				}
				if n := cap(s.gate.held); n > 4*limit {
					t.Fatalf("%d bytes reserved", n)
				}
			}
			s.data([]byte{byte(round)}, 0)
			mustEqual(t, "held after data", 0, s.gate.Stats().HeldBytes)
		}
		s.check()
		s.deferral(DeferralOn)
		// One answer a round, as RFC 8446 4.6.3 allows for a side that was silent.
		mustEqual(t, "updates the peer got", 5, s.peer.updates)
		mustEqual(t, "stats", Stats{
			Deferral: DeferralOn, ReleasedRecords: 5, ReleasedBytes: 5 * keyUpdateRecordLen,
			KeyUpdates: 1000, CollapsedKeyUpdates: 995,
		}, s.gate.Stats())
	})
}

// Up to a few, KeyUpdates go out as crypto/tls sealed them.
func TestBoundedFewKeyUpdatesAreNotTouched(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		for range 3 {
			for range maxHeldKeyUpdates {
				s.update(0)
			}
			s.data([]byte("data"), 0)
		}
		s.check()
		mustEqual(t, "updates", 3*maxHeldKeyUpdates, s.peer.updates)
		mustEqual(t, "collapsed", int64(0), s.gate.Stats().CollapsedKeyUpdates)
	})
}

// When nothing is held, nothing is kept.
func TestIdleCostsNothing(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		s.handshake()
		s.ticket(60000, maxPlaintext, 0)
		for range 10 {
			s.update(0)
		}
		s.data(make([]byte, maxPlaintext), 0)
		g := s.gate
		if g.held != nil || g.frames.partial != nil || g.sealed != nil || g.candidates != nil || g.afterFirst != nil {
			t.Errorf("kept: held %d, partial %d, sealed %d, candidates %d", cap(g.held), cap(g.frames.partial), cap(g.sealed), cap(g.candidates))
		}
	})
}

// A stack that sends tickets without end, or one message without end, does not
// make the gate hold them without end; nothing is lost on the way.
func TestBoundedHeldTickets(t *testing.T) {
	for _, updates := range []int{0, 1, maxHeldKeyUpdates + 1} {
		t.Run(fmt.Sprintf("updates=%d", updates), func(t *testing.T) {
			forEachGate(t, func(t *testing.T, s *stack) {
				for range updates {
					s.update(0)
				}
				for i := range 40 {
					s.ticket(7001*(1+i%3), maxPlaintext, i%2)
					for range updates {
						s.update(0)
					}
				}
				s.ticket(1<<18, 1000, 0)
				if s.gate.Stats().ForcedReleases == 0 {
					t.Error("no release was forced: nothing was bounded")
				}
				s.data([]byte("data"), 0)
				s.check()
				s.deferral(DeferralOn)
			})
		})
	}
}

// A KeyUpdate that comes when no more fits must not be what breaks the bound,
// neither as crypto/tls sealed it nor sealed again.
func TestBoundedToTheByte(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		fill := func(leave int) {
			for {
				room := maxHeldBytes - leave - s.gate.Stats().HeldBytes
				if room < sealedOverhead+4 {
					return
				}
				s.ticket(min(room, 16000)-sealedOverhead-4, maxPlaintext, 0)
			}
		}
		for _, leave := range []int{0, 1, keyUpdateRecordLen - 1, keyUpdateRecordLen, keyUpdateRecordLen + 1} {
			fill(leave)
			s.update(0)
			s.release()
		}
		for range maxHeldKeyUpdates + 1 { // from here on everything is sealed again
			s.update(0)
		}
		s.release()
		for _, leave := range []int{0, 1, keyUpdateRecordLen - 1, keyUpdateRecordLen, keyUpdateRecordLen + 1} {
			fill(leave)
			s.update(0)
			s.release()
		}
		s.check()
		s.deferral(DeferralOn)
	})
}

// A peer that makes other connections log secrets under its client_random adds
// no memory without end, and the right secret still counts when it comes last.
func TestBoundedCandidates(t *testing.T) {
	s := newStack(t, NewServerGate(), suites[0])
	s.gate = NewServerGate()
	for i := range 10000 {
		secret := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 16)
		if i%3 == 0 {
			secret = append(secret, secret[:16]...)
		}
		s.gate.AddSecret(secret)
	}
	s.gate.AddSecret(s.app.secret)
	if n := len(s.gate.candidates); n > maxCandidates || cap(s.gate.candidates) > 2*maxCandidates {
		t.Errorf("%d candidates in room for %d", n, cap(s.gate.candidates))
	}
	s.handshake()
	s.ticket(300, maxPlaintext, 0)
	s.deferral(DeferralOn)
	s.data([]byte("data"), 0)
	s.check()
	s.gate.AddSecret(s.app.secret)
	mustEqual(t, "candidates in the epoch", 0, len(s.gate.candidates))
}

// A server that asks for a client's certificate writes its ticket a round trip
// after its first flight. What other connections log meanwhile must not push
// out the secret that is its own.
func TestTurnCandidatesSurviveTheRoundTrip(t *testing.T) {
	s := newStack(t, NewServerGate(), suites[0])
	s.handshake()
	for i := range 100 {
		s.gate.AddSecret(bytes.Repeat([]byte{byte(i), 1}, 16))
	}
	s.ticket(300, maxPlaintext, 0)
	s.deferral(DeferralOn)
	mustEqual(t, "held", 1, s.gate.Stats().HeldRecords)
}

// Without a secret, and with the wrong one, all passes, and the search ends.
func TestBoundedSearchForTheEpoch(t *testing.T) {
	for name, want := range map[string]Deferral{"none": DeferralNoSecret, "other": DeferralUnopened} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, NewServerGate(), suites[0])
			s.gate = NewServerGate()
			if name == "other" {
				s.gate.AddSecret(make([]byte, 32))
				s.gate.AddSecret(make([]byte, 48))
				s.gate.AddSecret(make([]byte, 20)) // of no suite
			}
			s.handshake()
			for range maxTrials {
				s.data([]byte("data"), 0)
				mustEqual(t, "received", len(s.wrote), len(s.peer.got))
			}
			s.deferral(want)
			s.late = true
			s.ticket(300, maxPlaintext, 0)
			s.check()
		})
	}
}

// One request per byte for ever, with no write of the application, and then
// one; the same with data in between, with tickets before, and after close_notify.
func TestEveryLegalKeyUpdateLoadWorks(t *testing.T) {
	loads := map[string]func(s *stack){
		"for ever, then data": func(s *stack) {
			for range 1000 {
				s.update(0)
			}
		},
		"before and behind a ticket": func(s *stack) {
			s.ticket(300, maxPlaintext, 0)
			for range 50 {
				s.update(0)
			}
			s.release()
			s.ticket(300, maxPlaintext, 0)
			for range 50 {
				s.update(0)
			}
		},
		"with a ticket in between": func(s *stack) {
			for range 20 {
				for range 3 {
					s.update(0)
				}
				s.ticket(300, maxPlaintext, 0)
			}
		},
		"each number between data": func(s *stack) {
			for n := range 40 {
				for range n {
					s.update(0)
				}
				s.data([]byte("five!"), 0)
				s.data(make([]byte, maxPlaintext), 0)
				s.data([]byte("ab"), 0)
			}
		},
		"flushed each": func(s *stack) {
			for range 50 {
				s.update(0)
				s.release()
			}
		},
		"in one write": func(s *stack) {
			s.coalesce = true
			for range 50 {
				s.update(0)
			}
			s.data([]byte("data"), 0)
			for range 50 {
				s.update(0)
			}
		},
		"padded": func(s *stack) {
			for i := range 50 {
				s.update(50 - i)
			}
		},
		"after close_notify": func(s *stack) {
			s.update(0)
			s.alert(alertCloseNotify)
			for range 50 {
				s.update(0)
			}
		},
	}
	for name, load := range loads {
		t.Run(name, func(t *testing.T) {
			forEachGate(t, func(t *testing.T, s *stack) {
				s.handshake()
				load(s)
				if !s.closed {
					s.data([]byte("data"), 0)
					s.data([]byte("more"), 0)
				}
				s.check()
				s.deferral(DeferralOn)
				if s.updates > 0 && s.peer.updates == 0 {
					t.Error("no KeyUpdate was answered")
				}
			})
		})
	}
}

// A KeyUpdate of the application's own, which asks for an answer, is not held.
func TestTurnRequestedKeyUpdateIsTheApplications(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		for _, collapsed := range []bool{false, true} {
			for range 3 {
				s.update(0)
			}
			record := s.app.Seal(nil, recordHandshake, keyUpdateRequested)
			if err := s.app.Update(); err != nil {
				t.Fatal(err)
			}
			before := s.peer.updates
			s.updates++
			s.write(record, false)
			if s.peer.updates == before || s.gate.Stats().HeldBytes != 0 {
				t.Errorf("collapsed=%v: a KeyUpdate(update_requested) was held", collapsed)
			}
			for range 10 {
				s.update(0)
			}
		}
		s.data([]byte("data"), 0)
		s.check()
	})
}
