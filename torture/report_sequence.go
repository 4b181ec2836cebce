package torture

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A sequence is a transcript laid out as a sequence diagram: two lifelines, and what happened downwards between them.
// It is narrow enough for a telephone, so names stand above their arrows and notes beside their lifeline, inside.
// Lengths are in the units of the SVG.
type sequence struct {
	Title  string
	Width  int
	Height int
	Left   int // the client's lifeline
	Right  int // the server's
	Top    int // where the lifelines begin
	Bottom int

	Items   []sequenceItem
	Flights []sequenceFlight
}

// A sequenceItem is an event in its place.
type sequenceItem struct {
	Class string // for colours: the kind, and for records what they carry
	Time  string
	TimeY int
	Y     int // of the arrow, or of the middle of the note
	TextY int
	TextX int
	Label string
	Title string // all of it, if the label is cut

	Anchor     string // of the label: start or end; if empty, its middle
	Arrow      bool
	X1, X2     int
	Head       string // the path of the arrow's head, or of the cross of what did not arrive
	Note       bool   // a note has a box
	NoteX      int
	NoteWidth  int
	NoteHeight int
	NoteY      int
}

// A sequenceFlight is a bar on the sender's lifeline beside the records that left in one write.
type sequenceFlight struct {
	X, Y, Height int
	Title        string
	records      int
	flight       int
	side         string
}

const (
	sequenceWidth = 420
	sequenceLeft  = 46
	sequenceRight = 408

	arrowRow   = 25
	noteRow    = 21
	stepRow    = 17
	charWidth  = 5.9 // of the diagram's font, on average
	labelChars = 58
)

// newSequence lays out the events but those that say what a side was told, which stand beside the diagram.
func newSequence(title string, events Transcript) *sequence {
	s := &sequence{Title: title, Width: sequenceWidth, Left: sequenceLeft, Right: sequenceRight, Top: 24}
	y := s.Top + 6
	last := ""
	for i, e := range events {
		if e.Kind == EventTold {
			continue
		}
		item := sequenceItem{Class: eventClass(e), Label: printable(describeEvent(e))}
		if short := cut(item.Label); short != item.Label {
			item.Title, item.Label = item.Label, short
		}
		if now := milliseconds(e.At); now != last && (e.At > 0 || i == 0) { // what is summed up at the end has no time
			item.Time, last = now, now
		}
		switch e.Kind {
		case EventRecord, EventFIN, EventRST, EventClose:
			s.arrow(&item, e, y)
			y += arrowRow
		case EventStep, EventOmitted:
			s.text(&item, e, y)
			y += stepRow
		default:
			s.note(&item, e, y)
			y += noteRow
		}
		item.TimeY = item.Y + 3
		s.Items = append(s.Items, item)
	}
	s.Bottom = y + 6
	s.Height = s.Bottom + 4
	kept := s.Flights[:0]
	for _, f := range s.Flights {
		if f.records > 1 {
			f.Title = fmt.Sprintf("%d records in one write of the %s", f.records, f.side)
			kept = append(kept, f)
		}
	}
	s.Flights = kept
	return s
}

func (s *sequence) arrow(item *sequenceItem, e Event, y int) {
	item.Arrow = true
	item.Y = y + 18
	item.TextX, item.TextY = (s.Left+s.Right)/2, y+13
	from, to := s.Left+5, s.Right-3
	if e.Side == sideNames[tapeServer] {
		from, to = s.Right-5, s.Left+3
	}
	direction := 1
	if to < from {
		direction = -1
	}
	item.X1, item.X2 = from, to
	if e.Count > 1 {
		item.X2 -= 3 * direction // a thick line must not come out of its head
	}
	if e.Unread || e.Kind == EventClose {
		// It ends short of the peer, in a cross.
		item.X2 = to - 24*direction
		x := item.X2
		item.Head = fmt.Sprintf("M%d %dl8 8m0 -8l-8 8", x-4, item.Y-4)
	} else {
		item.Head = fmt.Sprintf("M%d %dl%d 4l%d 4", to-6*direction, item.Y-4, 6*direction, -6*direction)
	}
	if e.Kind == EventRecord && e.Flight > 0 && e.Count < 2 {
		s.flight(e, item.Y, from-5*direction)
	}
}

// flight lengthens the bar of the flight that e belongs to, or begins one.
func (s *sequence) flight(e Event, y, x int) {
	if n := len(s.Flights); n > 0 && s.Flights[n-1].flight == e.Flight && s.Flights[n-1].side == e.Side {
		f := &s.Flights[n-1]
		f.Height = y + 4 - f.Y
		f.records++
		return
	}
	s.Flights = append(s.Flights, sequenceFlight{X: x - 3, Y: y - 4, Height: 8, records: 1, flight: e.Flight, side: e.Side})
}

// text lays out a step beside its lifeline, or what is left out in the middle.
func (s *sequence) text(item *sequenceItem, e Event, y int) {
	item.Y, item.TextY = y+9, y+12
	switch e.Side {
	case sideNames[tapeClient]:
		item.TextX, item.Anchor = s.Left+8, "start"
	case sideNames[tapeServer]:
		item.TextX, item.Anchor = s.Right-8, "end"
	default:
		item.TextX = (s.Left + s.Right) / 2
	}
}

// note lays out a box that hangs on its lifeline.
func (s *sequence) note(item *sequenceItem, e Event, y int) {
	item.Note = true
	width := charWidth
	if e.Kind == EventLost {
		width *= 1.12 // it is bold
	}
	item.NoteWidth = min(s.Right-s.Left-10, int(width*float64(utf8.RuneCountInString(item.Label)))+16)
	item.NoteHeight, item.NoteY = noteRow-4, y+2
	item.Y, item.TextY = y+noteRow/2, y+14
	item.NoteX = s.Left + 5
	if e.Side == sideNames[tapeServer] {
		item.NoteX = s.Right - 5 - item.NoteWidth
	}
	item.TextX = item.NoteX + item.NoteWidth/2
}

// eventClass names the colour of an event.
func eventClass(e Event) string {
	class := string(e.Kind)
	if e.Kind == EventRecord {
		switch {
		case strings.HasPrefix(e.Inner, "alert"):
			class += " alert"
		case e.Inner == innerOpaque:
			class += " sealed"
		case strings.Contains(e.Inner, "new_session_ticket") || e.Inner == innerKeyUpdate:
			class += " out-of-turn"
		case strings.Contains(e.Inner, innerApplicationData):
			class += " data"
		default:
			class += " handshake"
		}
		if e.Unread {
			class += " unread"
		}
		if e.Count > 1 {
			class += " many"
		}
	}
	return class
}

// describeEvent words an event for a label.
func describeEvent(e Event) string {
	times := ""
	if e.Count > 1 {
		times = fmt.Sprintf(" × %d", e.Count)
	}
	switch e.Kind {
	case EventRecord:
		label := e.Inner + times + " · " + byteCount(e.Bytes)
		if e.Text != "" && e.Count == 0 {
			label += " · " + e.Text
		}
		if e.Unread {
			label += " · never read"
		}
		return label
	case EventHold:
		return "held back: " + cmp.Or(e.Inner, "what was made") + times + " · " + byteCount(e.Bytes)
	case EventRelease:
		return "released: " + cmp.Or(e.Inner, "what was held") + times + " · " + byteCount(e.Bytes)
	case EventWait:
		return e.Text + times
	case EventFIN:
		return "FIN · " + e.Text
	case EventRST:
		return "RST · " + e.Text
	case EventClose:
		return e.Text
	case EventLost:
		return "× lost: " + byteCount(e.Bytes) + " · " + e.Text
	case EventOmitted:
		return "… " + e.Text + " …"
	}
	return e.Text
}

// byteCount is n in a form that fits a label, and exact below 10,000 bytes.
func byteCount(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d KB", n/1000)
	}
	return fmt.Sprintf("%d MB", n/1_000_000)
}

func milliseconds(at time.Duration) string {
	if at < 10*time.Millisecond {
		return fmt.Sprintf("%.1f", at.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0f", at.Seconds()*1e3)
}

// cut shortens a label to what fits between the lifelines.
func cut(label string) string {
	if utf8.RuneCountInString(label) <= labelChars {
		return label
	}
	return string([]rune(label)[:labelChars-1]) + "…"
}

// printable replaces what no XML document may have.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\ufffe' || r == '\uffff' {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}
