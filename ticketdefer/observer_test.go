package ticketdefer_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// Nothing that was sent, no secret, and no name fits into an Event.
func TestEventsHoldNumbersOnly(t *testing.T) {
	event := reflect.TypeFor[ticketdefer.Event]()
	for i := range event.NumField() {
		switch f := event.Field(i); f.Type.Kind() {
		case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint8:
		default:
			t.Errorf("%s is a %s", f.Name, f.Type)
		}
	}
}

// Events that are noted while the function is at work are handed over behind it, by
// whoever has called it, and what does not fit is counted.
func TestObserverBoundsWhatWaits(t *testing.T) {
	const noted, kept = 2000, 1024
	var o *ticketdefer.Observer
	var got []ticketdefer.Event
	o = ticketdefer.NewObserver(func(e ticketdefer.Event) {
		got = append(got, e)
		if len(got) == 1 {
			for i := range noted {
				o.Note(ticketdefer.Event{Kind: ticketdefer.EventReleased, Records: i})
			}
			o.Deliver() // returns: the call around this one goes on
			if len(got) != 1 {
				t.Error("the function was called inside itself")
			}
		}
	})
	o.Note(ticketdefer.Event{Kind: ticketdefer.EventHeld})
	o.Deliver()
	if len(got) != 1+kept+1 {
		t.Fatalf("%d events", len(got))
	}
	for i, e := range got[1 : 1+kept] {
		if e.Records != i {
			t.Fatalf("event %d is out of order: %+v", i, e)
		}
	}
	want := ticketdefer.Event{Kind: ticketdefer.EventLost, Lost: noted - kept}
	if d := cmp.Diff(want, got[1+kept]); d != "" {
		t.Error(d)
	}
}

// A function that panics has its say in the caller, and loses nothing but its event.
func TestObserverSurvivesPanics(t *testing.T) {
	calls := 0
	o := ticketdefer.NewObserver(func(ticketdefer.Event) {
		if calls++; calls == 1 {
			panic("once")
		}
	})
	o.Note(ticketdefer.Event{})
	o.Note(ticketdefer.Event{})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		o.Deliver()
	}()
	o.Deliver()
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

func TestNilObserverDoesNothing(t *testing.T) {
	var o *ticketdefer.Observer
	o.Note(ticketdefer.Event{})
	o.Deliver()
	o.DeliverAside()
	o.NoteDrain(ticketdefer.DrainClose, 0)(ticketdefer.DrainPeerEnded)
}
