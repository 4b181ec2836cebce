package torture

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// played runs a scenario once with each of the stacks and returns their transcripts, as exhibits show them.
func played(t *testing.T, scenario, network string, seed uint64, stacks ...Stack) []Transcript {
	t.Helper()
	report, err := Run(t.Context(), Plan{
		Stacks:    stacks,
		Scenarios: scenarioNamed(t, scenario),
		Networks:  networksNamed(t, network),
		Runs:      1,
		Seed:      seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []Transcript
	for i := range report.Rows {
		exhibit := report.Rows[i].Exhibit
		if exhibit == nil {
			t.Fatalf("no exhibit of %s", report.Rows[i].Stack)
		}
		all = append(all, exhibit.Events)
	}
	return all
}

// find returns where an event of that kind of a side is, for records whose Inner has the given text.
func find(t *testing.T, events Transcript, side string, kind EventKind, inner string) int {
	t.Helper()
	at := slices.IndexFunc(events, func(e Event) bool {
		return e.Side == side && e.Kind == kind && strings.Contains(e.Inner, inner)
	})
	if at < 0 {
		t.Fatalf("no %s of the %s with %q in:\n%v", kind, side, inner, events)
	}
	return at
}

// This is the fault that the project is about, and its repair, as the wire shows them.
func TestTranscriptShowsWhyAnUploadIsLost(t *testing.T) {
	both := played(t, "upload", "pipe-strict", 1, Stdlib(), Tlsstream())
	stock, ours := both[0], both[1]

	ticket := stock[find(t, stock, "server", EventRecord, "new_session_ticket")]
	if ticket.Flight != 1 || !ticket.Unread {
		t.Errorf("stock crypto/tls: the ticket is not in the first flight, or the client read it: %v", ticket)
	}
	closes := find(t, stock, "client", EventRecord, "alert close_notify")
	rst := stock[find(t, stock, "client", EventRST, "")]
	if rst.Bytes != ticket.Bytes || find(t, stock, "client", EventRST, "") < closes {
		t.Errorf("the reset is not for the ticket of %d bytes: %v", ticket.Bytes, rst)
	}
	if lost := stock[find(t, stock, "client", EventLost, "")]; lost.Bytes == 0 {
		t.Errorf("nothing lost: %v", lost)
	}
	told := stock[len(stock)-2:]
	if !strings.HasPrefix(told[0].Text, "success") || !strings.Contains(told[1].Text, "connection reset by peer") {
		t.Errorf("told %v", told)
	}

	order := []int{
		find(t, ours, "server", EventHold, "new_session_ticket"),
		find(t, ours, "client", EventRecord, "alert close_notify"),
		find(t, ours, "client", EventFIN, ""),
		find(t, ours, "server", EventRelease, "new_session_ticket"),
		find(t, ours, "server", EventRecord, "new_session_ticket"),
		find(t, ours, "server", EventRecord, "alert close_notify"),
	}
	if !slices.IsSorted(order) {
		t.Errorf("tlsstream: the ticket is not held until the client has closed: %v in\n%v", order, ours)
	}
	if late, alert := ours[order[4]], ours[order[5]]; late.Flight != alert.Flight || late.Bytes != ticket.Bytes {
		t.Errorf("the ticket does not leave with close_notify: %v, %v", late, alert)
	}
	for _, e := range ours {
		if e.Kind == EventLost || e.Kind == EventRST {
			t.Errorf("tlsstream: %v", e)
		}
	}
}

func TestTranscriptShowsWhoWaitsInADeadlock(t *testing.T) {
	stock := played(t, "huge-ticket", "pipe-strict", 1, Stdlib())[0]
	begins := stock[find(t, stock, "server", EventRecord, "new_session_ticket (begins)")]
	if !begins.Unread {
		t.Errorf("the client read the ticket: %v", begins)
	}
	var got []string
	for _, e := range stock[len(stock)-4:] {
		got = append(got, e.Side+" "+string(e.Kind)+": "+e.Text)
	}
	want := []string{
		"client wait: the client waits in write (transport write)",
		"server wait: the server waits in handshake (transport write)",
		"client told: nothing: it was still waiting when the trial was stopped",
		"server told: nothing: it was still waiting when the trial was stopped",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A record that comes after a KeyUpdate opens only with the next keys, so none may be opaque.
func TestTranscriptFollowsKeyUpdates(t *testing.T) {
	ours := played(t, "upload-key-update", "pipe-strict", 1, Tlsstream())[0]
	updates := 0
	for _, e := range ours {
		if e.Kind != EventRecord {
			continue
		}
		if strings.Contains(e.Inner, innerOpaque) {
			t.Errorf("did not open %v", e)
		}
		if e.Side == "client" && strings.Contains(e.Inner, innerKeyUpdate) {
			updates += cmp.Or(strings.Count(e.Text, innerKeyUpdate), 1)
		}
	}
	if updates == 0 {
		t.Errorf("no KeyUpdate in\n%v", ours)
	}
}

// How the two sides mix is up to the scheduler. What each of them writes, and how long it is, follows from the seed.
func TestSameSeedSameRecords(t *testing.T) {
	for _, scenario := range []string{"upload", "upload-client-cert", "upload-key-update"} {
		var first map[string]Transcript
		for range 5 {
			now := make(map[string]Transcript)
			for _, e := range played(t, scenario, "pipe-strict", 9, Tlsstream())[0] {
				if e.Kind != EventRecord && e.Kind != EventFIN {
					continue
				}
				side := now[e.Side]
				if e.Count == 0 {
					e.Count = 1
				}
				// Where the other side broke into a run is not the seed's doing.
				if n := len(side); n > 0 && side[n-1].Kind == EventRecord && e.Kind == EventRecord && bulk(side[n-1]) && bulk(e) {
					side[n-1].Bytes += e.Bytes
					side[n-1].Content += e.Content
					side[n-1].Count += e.Count
					continue
				}
				if bulk(e) {
					e.Flight, e.Inner, e.Text = 0, innerApplicationData, ""
				}
				now[e.Side] = append(side, e)
			}
			if first == nil {
				first = now
			}
			for _, side := range sideNames {
				if diff := first[side].Diff(now[side]); diff != "" {
					t.Fatalf("%s: the %s: %s", scenario, side, diff)
				}
			}
		}
	}
}

func bulk(e Event) bool {
	return strings.Contains(e.Inner, innerApplicationData) || e.Inner == innerKeyUpdate
}

func TestRowShowsItsFirstWorstTrial(t *testing.T) {
	identity, err := newIdentity(1)
	if err != nil {
		t.Fatal(err)
	}
	var shown exhibit
	for _, test := range []struct {
		trial, shown int
		class, worst Class
	}{
		{3, 3, Undetermined, Undetermined}, {4, 4, OK, OK}, {1, 1, OK, OK}, {0, 1, Undetermined, OK}, {5, 5, Lost, Lost}, {2, 2, Lost, Lost}, {4, 2, Lost, Lost}, {0, 2, OK, Lost},
		{9, 9, SilentLoss, SilentLoss},
	} {
		played := &trial{index: test.trial, identity: identity}
		played.serverConfig, played.clientConfig = identity.configs()
		played.record()
		played.client, played.server = &side{name: "client"}, &side{name: "server"}
		played.client.peer, played.server.peer = played.server, played.client
		played.tape.step(tapeClient, "handshake")
		shown.offer(played, place{index: test.trial}, Case{Trial: test.trial}, Verdict{Class: test.class}, nil)
		if shown.kept.Trial != test.shown || shown.kept.Verdict != test.worst {
			t.Errorf("after trial %d, which was %v: shows trial %d, %v", test.trial, test.class, shown.kept.Trial, shown.kept.Verdict)
		}
		if played.tape.secrets != nil {
			t.Errorf("trial %d leaves its keys", test.trial)
		}
	}
}
