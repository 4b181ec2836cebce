package ticketdefer

import "testing"

// A ledger adds up a gate's events, to be compared with its Stats and with what the
// peer has received. Every script of a stack keeps one.
type ledger struct {
	observer *Observer
	sums     Stats // of the events: Deferral, released, KeyUpdates, collapsed, alerts
	held     int   // records
	answered int
	last     Event // of those held
}

func newLedger(t testing.TB, gate *Gate) *ledger {
	l := &ledger{}
	l.observer = NewObserver(func(e Event) {
		switch e.Kind {
		case EventHeld:
			l.held += e.Records
			l.last = e
		case EventReleased:
			l.sums.ReleasedRecords += int64(e.Records)
			l.sums.ReleasedBytes += int64(e.Bytes)
		case EventKeyUpdate:
			switch e.State {
			case KeyUpdateSeen:
				l.sums.KeyUpdates += int64(e.Count)
			case KeyUpdateCollapsed:
				l.sums.CollapsedKeyUpdates += int64(e.Count)
			case KeyUpdateAnswered:
				l.answered += e.Count
			}
		case EventAlert:
			l.sums.Alerts++
		case EventDeferral:
			l.sums.Deferral = e.Deferral
		default:
			t.Errorf("event %+v", e)
		}
	})
	gate.Observe(l.observer)
	return l
}

// check is for a gate that holds nothing.
func (l *ledger) check(t testing.TB, gate *Gate) {
	t.Helper()
	l.observer.Deliver()
	want := gate.Stats()
	want.ForcedReleases = 0 // shows in the causes
	if want.Deferral == DeferralReady {
		want.Deferral = DeferralWaiting // it is no event
	}
	mustEqual(t, "sums of the events", want, l.sums)
	// What collapses has been held, but for the last of it.
	if missing := int64(l.held) - want.ReleasedRecords; missing < 0 || missing > want.CollapsedKeyUpdates {
		t.Errorf("%d records held, %d released, %d KeyUpdates collapsed", l.held, want.ReleasedRecords, want.CollapsedKeyUpdates)
	}
	if l.last.TotalBytes > maxHeldBytes {
		t.Errorf("%d bytes held", l.last.TotalBytes)
	}
}

func TestEventsTellWhyDeferralIsOff(t *testing.T) {
	for name, test := range map[string]struct {
		written []byte
		want    Deferral
	}{
		"plaintext": {[]byte("220 ready\r\n"), DeferralNotRecords},
		"no secret": {append([]byte{recordApplicationData, 3, 3, 0, 30}, make([]byte, 30)...), DeferralNoSecret},
		"TLS 1.2":   {serverHello12(), DeferralTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			gate := NewServerGate()
			l := newLedger(t, gate)
			if _, err := gate.Filter(nil, test.written); err != nil {
				t.Fatal(err)
			}
			l.check(t, gate)
			mustEqual(t, "deferral", test.want, l.sums.Deferral)
		})
	}
}

// serverHello12 is the beginning of a ServerHello with a cipher suite of TLS 1.2.
func serverHello12() []byte {
	body := append([]byte{3, 3}, make([]byte, randomLen)...)
	body = append(body, 0, 0xc0, 0x2f, 0)
	record := []byte{recordHandshake, 3, 3, 0, byte(messageHeaderLen + len(body)), 2, 0, 0, byte(len(body))}
	return append(record, body...)
}

// More tickets than may be held leave early, and the event says so.
func TestEventsTellOfBounds(t *testing.T) {
	var causes []ReleaseCause
	gate := NewServerGate()
	s := newStack(t, gate, suites[0])
	gate.Observe(NewObserver(func(e Event) {
		if e.Kind == EventReleased {
			causes = append(causes, e.Cause)
		}
	}))
	for range 1 + maxHeldBytes/60_000 {
		s.ticket(60_000, maxPlaintext, 0)
	}
	gate.Release()
	gate.observer.Deliver()
	mustEqual(t, "causes", []ReleaseCause{ReleaseBound, ReleaseFlush}, causes)
}
