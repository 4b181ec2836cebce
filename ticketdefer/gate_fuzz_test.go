package ticketdefer

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const maxFuzzInput = 4 << 10

// chunks cuts p at places that cuts tells; the rest is one chunk.
func chunks(p, cuts []byte) (out [][]byte) {
	for _, c := range cuts {
		n := min(int(c), len(p))
		out, p = append(out, p[:n]), p[n:]
	}
	return append(out, p)
}

// Any split of the same bytes gives the same records, and the same place where
// they stop to be records.
func FuzzFramer(f *testing.F) {
	record := []byte{recordApplicationData, 3, 3, 0, 3, 'a', 'b', 'c'}
	f.Add(record, []byte{1, 1, 1, 1, 1, 1, 1})
	f.Add(slices.Concat(record, record, []byte("not a record")), []byte{7, 2, 0, 9})
	f.Add([]byte{recordAlert, 3, 1, 0, 0, recordHandshake, 3, 1, 0xff, 0xff}, []byte{3})
	f.Add([]byte{24, 3, 3, 0, 0}, []byte{4})
	f.Fuzz(func(t *testing.T, p, cuts []byte) {
		if len(p) > maxFuzzInput {
			return
		}
		wantRecords, wantBad := split(p)
		var frames framer
		var got [][]byte
		var rest []byte // from where the framer stopped
		bad := false
		for _, chunk := range chunks(p, cuts) {
			for len(chunk) > 0 && !bad {
				record, more, err := frames.next(chunk)
				if err != nil {
					bad = true
					rest = append(frames.unread(), more...)
					chunk = nil
					break
				}
				if record != nil {
					got = append(got, bytes.Clone(record))
				}
				if cap(frames.partial) > 4*maxRecordLen {
					t.Fatalf("%d bytes reserved", cap(frames.partial))
				}
				chunk = more
			}
			if bad {
				rest = append(rest, chunk...)
			}
		}
		if bad != wantBad {
			t.Fatalf("bad = %v, want %v", bad, wantBad)
		}
		if diff := cmp.Diff(wantRecords, got); diff != "" {
			t.Fatal(diff)
		}
		end := len(slices.Concat(got...))
		if !bad {
			rest = frames.unread()
			if !bytes.Equal(rest, p[end:]) {
				t.Fatalf("kept %x, want %x", rest, p[end:])
			}
		} else if !bytes.HasPrefix(p[end:], rest) {
			t.Fatalf("gave back %x of %x", rest, p[end:])
		}
	})
}

// split cuts p into records, in the plainest way, until something is none.
func split(p []byte) (out [][]byte, bad bool) {
	for len(p) >= 5 {
		n := 5 + int(p[3])<<8 + int(p[4])
		if p[0] < 20 || p[0] > 23 || p[1] != 3 || n > maxRecordLen {
			return out, true
		}
		if len(p) < n {
			break
		}
		out, p = append(out, p[:n]), p[n:]
	}
	return out, false
}

// Random records of a whole stack: data, tickets and alerts arrive complete and
// in order, all opens, and no more KeyUpdates come than were written.
func FuzzGateOrder(f *testing.F) {
	f.Add([]byte{64, 0, 9, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 6, 10, 3, 0, 6, 5, 11, 0})
	f.Add([]byte{1, 5, 19, 0, 200, 5, 19, 10, 0, 8, 0, 9, 0, 11, 99, 11, 1, 5, 19})
	f.Add([]byte{0x72, 1, 255, 5, 3, 3, 2, 90, 7, 133, 19, 128, 77, 6, 0, 0, 33})
	f.Add([]byte{36, 5, 12, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 5, 12, 8, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		runScript(t, script)
	})
}

// Any split of the same bytes gives the same due bytes, in the same order, and
// the same decisions. The bytes are a script's, damaged or not, or anything.
func FuzzGateRechunking(f *testing.F) {
	f.Add([]byte("tuuuuuudtuuuuuuuuda5c"), []byte{1, 2, 3, 200, 5, 0, 0, 27, 30}, uint16(0), byte(0))
	f.Add([]byte("tttttttuddu2uuuuuuuuu2d"), bytes.Repeat([]byte{1}, 300), uint16(0), byte(0))
	f.Add([]byte("tuud"), []byte{9, 9, 9}, uint16(700), byte(1))
	f.Add([]byte("uuuuuuuuuddduuuudd"), []byte{60}, uint16(333), byte(255))
	f.Fuzz(func(t *testing.T, script, cuts []byte, at uint16, flip byte) {
		if len(script) > 64 || len(cuts) > 1000 {
			return
		}
		hs, app := testEpochs(t)
		secret := bytes.Clone(app.secret)
		p := hs.Seal([]byte{recordHandshake, 3, 3, 0, 2, 9, 9, recordChangeCipherSpec, 3, 3, 0, 1, 1}, recordHandshake, []byte("Finished"))
		for _, op := range script {
			switch op {
			case 't':
				p = app.Seal(p, recordHandshake, message(4, 100))
			case 'u':
				p = app.Seal(p, recordHandshake, keyUpdate)
				if err := app.Update(); err != nil {
					t.Fatal(err)
				}
			case 'd':
				p = app.Seal(p, recordApplicationData, []byte("response"))
			case '5':
				p = app.Seal(p, recordApplicationData, keyUpdate)
			case '2':
				p = app.Seal(p, recordApplicationData, closeNotify)
			case 'a':
				p = app.Seal(p, recordAlert, []byte{1, 90})
			case 'c':
				p = app.Seal(p, recordAlert, closeNotify)
			default:
				p = append(p, op)
			}
		}
		if int(at) < len(p) {
			p[at] ^= flip
		}

		run := func(cuts []byte) (due []byte, stats Stats, partial int, failed error) {
			g := NewServerGate()
			g.AddSecret(secret)
			for _, chunk := range chunks(p, cuts) {
				out, err := g.Filter(nil, bytes.Clone(chunk))
				if err != nil {
					failed = err
					break
				}
				due = append(due, slices.Concat(out...)...)
			}
			stats = g.Stats()
			stats.Alerts = 0 // outside of the epoch counted as well as one can
			return due, stats, len(g.frames.partial), failed
		}
		want, wantStats, wantPartial, wantErr := run(nil)
		got, gotStats, gotPartial, gotErr := run(cuts)
		if wantErr != nil || gotErr != nil {
			if wantErr != gotErr {
				t.Fatalf("errors %v and %v", wantErr, gotErr)
			}
			return // what was due before the error is not part of the promise
		}
		if wantStats.Deferral == DeferralNotRecords && gotStats.Deferral == DeferralNotRecords {
			wantPartial, gotPartial = 0, 0
		}
		if diff := cmp.Diff(wantStats, gotStats); diff != "" || wantPartial != gotPartial {
			t.Fatalf("%d and %d bytes of a record kept; stats, -whole +split:\n%s", wantPartial, gotPartial, diff)
		}
		if !bytes.Equal(want, got) {
			t.Fatalf("due: whole %x\nsplit %x", want, got)
		}
	})
}

// testEpochs returns handshake and application keys of the first suite.
func testEpochs(t testing.TB) (hs, app *Epoch) {
	t.Helper()
	hs, _ = epochPair(t, suites[0], 0xaa)
	app, _ = epochPair(t, suites[0], 0xbb)
	return hs, app
}
