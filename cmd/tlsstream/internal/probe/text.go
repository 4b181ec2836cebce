package probe

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	pageWidth   = 80
	labelWidth  = 18 // of the first column
	safetyWidth = 8  // of the second, in the verdicts
)

// WriteText writes the report for people, in lines of at most 80 columns unless a single word is longer.
func (r *Report) WriteText(w io.Writer) error {
	var page strings.Builder
	line := func(label, text string) {
		page.WriteString(wrap(fmt.Sprintf("%-*s", labelWidth, label), text))
	}
	page.WriteString(r.head())
	page.WriteByte('\n')
	line("session tickets", r.Tickets.String())
	line("KeyUpdate", r.KeyUpdate.String())
	line("end of stream", r.End.String())
	line("truncation", r.Truncation.String())
	line("resumption", r.Resumption.String())
	if len(r.Verdicts) > 0 {
		page.WriteByte('\n')
	}
	for i, v := range r.Verdicts {
		reasons := strings.Join(v.Reasons, "; ")
		if i > 0 && slices.Equal(v.Reasons, r.Verdicts[i-1].Reasons) {
			reasons = "as for " + r.Verdicts[i-1].Use
		}
		safety := string(v.Verdict)
		switch v.Verdict {
		case Unsafe:
			safety = "UNSAFE" // to be found at a glance
		case NotApplicable:
			safety = "-"
		}
		page.WriteString(wrap(fmt.Sprintf("%-*s%-*s", labelWidth, v.Use, safetyWidth, safety), reasons))
	}
	for i, remedy := range r.Remedies {
		label := ""
		if i == 0 {
			page.WriteByte('\n')
			label = "remedies"
		}
		line(label, remedy)
	}
	_, err := io.WriteString(w, page.String())
	return err
}

func (r *Report) head() string {
	var whom []string
	if r.Software != "" {
		whom = append(whom, r.Software)
	}
	if r.StartTLS != "" {
		whom = append(whom, "STARTTLS "+r.StartTLS)
	}
	whom = append(whom, "seen as "+r.Fingerprint)
	what := []string{r.TLS.Version, r.TLS.CipherSuite}
	if r.TLS.ALPN != "" {
		what = append(what, r.TLS.ALPN)
	}
	if !r.TLS.Verified {
		what = append(what, "certificate not verified")
	}
	return wrap("", fmt.Sprintf("%s (%s)", r.Address, strings.Join(whom, ", "))) + wrap("", strings.Join(what, ", "))
}

var moments = map[Moment]string{
	FirstFlight:   "unasked: in the server's first flight, before our Finished",
	AfterFinished: "unasked: after the handshake, before any data",
	WithData:      "with what the server wrote first",
	AfterBytes:    "only after our first bytes",
	AtEnd:         "only after our close_notify",
}

func (t TicketsReport) String() string {
	if t.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("%d (%d bytes), %s", t.Count, t.Bytes, moments[t.When])
}

func (k KeyUpdateReport) String() string {
	switch k.Answer {
	case AtOnce:
		return "answered at once, before the server has anything to write"
	case Deferred:
		return "answered when the server next writes"
	case NotAtAll:
		return "never answered, though the server wrote"
	case Unanswered:
		return "not answered, and the server wrote nothing that could carry it"
	case Refused:
		return "refused: " + k.Note
	}
	return "unknown: " + k.Note
}

func (e EndReport) String() string {
	when := ", after our close_notify"
	if e.After == AfterBytes {
		when = ", by itself after our first bytes"
	}
	return e.Ending.describe(e.Alert) + when
}

func (e Ending) describe(alert string) string {
	switch e {
	case EndCloseNotify:
		return "close_notify"
	case EndAlert:
		return "fatal alert (" + alert + ")"
	case EndFIN:
		return "FIN without close_notify"
	case EndReset:
		return "RST"
	case EndNone:
		return "none: the connection stayed open"
	}
	return "unknown"
}

func (t TruncationReport) String() string {
	if t.Ending == EndUntold {
		return "unknown"
	}
	reported := "not reported to the client: "
	if t.Reported {
		reported = "reported to the client: "
	}
	return reported + t.Ending.describe(t.Alert)
}

func (r ResumptionReport) String() string {
	switch r.Resumes {
	case ResumptionNoTickets:
		return "no: there are no tickets"
	case ResumptionUnknown:
		return "unknown: " + r.Note
	}
	return string(r.Resumes)
}

// wrap breaks text into lines behind a label, which the further ones leave blank.
func wrap(label, text string) string {
	var page strings.Builder
	page.WriteString(label)
	column, first := len(label), true
	for word := range strings.FieldsSeq(text) {
		switch {
		case first:
		case column+1+len(word) > pageWidth:
			page.WriteString("\n" + strings.Repeat(" ", len(label)))
			column = len(label)
		default:
			page.WriteByte(' ')
			column++
		}
		page.WriteString(word)
		column += len(word)
		first = false
	}
	page.WriteByte('\n')
	return page.String()
}
