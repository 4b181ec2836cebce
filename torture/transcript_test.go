package torture

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiffIgnoresWhenAndNothingElse(t *testing.T) {
	event := Event{At: 1, Side: "client", Kind: EventRecord, Inner: "finished", Bytes: 58, Flight: 2}
	later := event
	later.At = 2
	if diff := (Transcript{event}).Diff(Transcript{later}); diff != "" {
		t.Errorf("another time made a difference: %s", diff)
	}
	shorter := event
	shorter.Bytes = 57
	for _, test := range []struct {
		other Transcript
		want  string
	}{
		{Transcript{shorter}, "event 0: client record finished 58 bytes in flight 2, and in the other client record finished 57 bytes in flight 2"},
		{Transcript{event, event}, "event 1: the end, and in the other client record finished 58 bytes in flight 2"},
	} {
		if diff := cmp.Diff(test.want, Transcript{event}.Diff(test.other)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestBulkIsDrawnTogether(t *testing.T) {
	data := Event{Side: "client", Kind: EventRecord, Inner: "application_data", Bytes: 16406, Content: 16384, Flight: 9}
	update := Event{Side: "client", Kind: EventRecord, Inner: "key_update", Bytes: 27, Content: 5, Flight: 9}
	full := Event{Side: "client", Kind: EventWait, Text: "window full"}
	lost := data
	lost.Unread = true
	ticket := Event{Side: "server", Kind: EventRecord, Inner: "new_session_ticket", Bytes: 144}

	got := Transcript{update, data, data, full, data, full, ticket, data, data, ticket, data, data, data, data, lost, lost, lost, lost}.merged()
	want := Transcript{
		{Side: "client", Kind: EventRecord, Inner: "key_update, application_data", Bytes: 27 + 3*16406, Content: 5 + 3*16384,
			Count: 4, Text: "1 key_update, 3 application_data"},
		{Side: "client", Kind: EventWait, Text: "window full", Count: 2},
		ticket, data, data, ticket, // too few to hide
		{Side: "client", Kind: EventRecord, Inner: "application_data", Bytes: 4 * 16406, Content: 4 * 16384, Count: 4},
		{Side: "client", Kind: EventRecord, Inner: "application_data", Bytes: 4 * 16406, Content: 4 * 16384, Count: 4, Unread: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTranscriptIsBounded(t *testing.T) {
	var long Transcript
	for i := range 1000 {
		long = append(long, Event{Side: "client", Kind: EventStep, Bytes: int64(i)})
	}
	got := long.bounded(10)
	if len(got) != 10 || got[5].Count != 991 || got[4].Bytes != 4 || got[6].Bytes != 996 {
		t.Errorf("got %v", got)
	}
	if got := long[:10].bounded(10); len(got) != 10 || got[5].Kind == EventOmitted {
		t.Errorf("cut without need: %v", got)
	}
}
