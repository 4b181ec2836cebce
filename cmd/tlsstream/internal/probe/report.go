package probe

// FormatVersion is that of the JSON form of a Report. It grows when a field changes its meaning or goes, not when one
// is added.
const FormatVersion = 1

// A Report is what a probe found. Its JSON form is documented in the help of tlsstream probe, and stable.
type Report struct {
	Address     string `json:"address"`
	ServerName  string `json:"server_name"`
	StartTLS    string `json:"starttls"`
	Fingerprint string `json:"fingerprint"`
	Software    string `json:"software"` // as the server names itself in a banner, a header or a page; may be empty

	TLS        TLSReport        `json:"tls"`
	Tickets    TicketsReport    `json:"tickets"`
	KeyUpdate  KeyUpdateReport  `json:"key_update"`
	End        EndReport        `json:"end"`
	Truncation TruncationReport `json:"truncation"`
	Resumption ResumptionReport `json:"resumption"`

	Verdicts []Verdict `json:"verdicts"`
	Remedies []string  `json:"remedies"`
}

// A TLSReport is what was negotiated.
type TLSReport struct {
	Version     string `json:"version"`
	CipherSuite string `json:"cipher_suite"`
	ALPN        string `json:"alpn"`
	Verified    bool   `json:"verified"` // false with --insecure
}

// A Moment is when something came.
type Moment string

const (
	FirstFlight   Moment = "first-flight"      // with the server's Finished, before the client's
	AfterFinished Moment = "after-finished"    // after the client's Finished, unasked
	WithData      Moment = "with-data"         // before the first bytes of ours, in one piece with data of the server's
	AfterBytes    Moment = "after-first-bytes" // after the first application data of ours
	AtEnd         Moment = "at-end"            // after our close_notify
	Never         Moment = "never"
)

// unasked tells whether nothing of the application's made the server write.
func (m Moment) unasked() bool { return m == FirstFlight || m == AfterFinished }

// A TicketsReport is about NewSessionTicket messages.
type TicketsReport struct {
	Count int      `json:"count"`
	Bytes int      `json:"bytes"` // of all of them, on the wire
	When  Moment   `json:"when"`  // the first of them
	Each  []Ticket `json:"each"`

	UnaskedCount int `json:"unasked_count"` // of those that nothing of the application's brought about
	UnaskedBytes int `json:"unasked_bytes"`
}

// A Ticket is one NewSessionTicket message.
type Ticket struct {
	Bytes        int     `json:"bytes"` // of the message
	When         Moment  `json:"when"`
	Milliseconds float64 `json:"milliseconds"` // since what the moment is named for; since the handshake's end for first-flight
}

// An Answer is what a server does about KeyUpdate(update_requested).
type Answer string

const (
	AtOnce     Answer = "at-once"    // before it has anything to write
	Deferred   Answer = "deferred"   // in front of what it writes next
	NotAtAll   Answer = "never"      // it wrote, and left the answer out
	Unanswered Answer = "unanswered" // it neither answered nor wrote anything
	Refused    Answer = "refused"    // it ended the connection
	Untold     Answer = "unknown"    // the connection failed for another reason
)

// A KeyUpdateReport is about KeyUpdate.
type KeyUpdateReport struct {
	Answer       Answer  `json:"answer"`
	Milliseconds float64 `json:"milliseconds"` // from the request to the answer, if it came at once
	Note         string  `json:"note"`         // why it is unknown or refused
}

// An Ending is how the server's stream ended.
type Ending string

const (
	EndCloseNotify Ending = "close-notify" // properly
	EndAlert       Ending = "alert"        // a fatal alert
	EndFIN         Ending = "fin"          // the transport ended, and TLS did not
	EndReset       Ending = "reset"
	EndNone        Ending = "none" // it stayed open
	EndUntold      Ending = "unknown"
)

// An EndReport is about the end of the stream.
type EndReport struct {
	Ending Ending `json:"ending"`
	Alert  string `json:"alert"` // its name, if there was one
	After  Moment `json:"after"` // after-first-bytes if the server ended by itself, at-end if it waited for our end
}

// A TruncationReport is what the server does when the client's stream breaks off.
type TruncationReport struct {
	Reported bool   `json:"reported"` // a fatal alert or a reset says so
	Ending   Ending `json:"ending"`
	Alert    string `json:"alert"`
}

// A Resumption tells whether a ticket resumes.
type Resumption string

const (
	ResumptionYes       Resumption = "yes"
	ResumptionNo        Resumption = "no"
	ResumptionNoTickets Resumption = "no-tickets"
	ResumptionUnknown   Resumption = "unknown"
)

// A ResumptionReport is about resumption, always tried with crypto/tls.
type ResumptionReport struct {
	Resumes Resumption `json:"resumes"`
	Note    string     `json:"note"`
}

// Safety is a verdict.
type Safety string

const (
	Safe          Safety = "safe"
	Unsafe        Safety = "unsafe"
	UnknownSafety Safety = "unknown"
	NotApplicable Safety = "not-applicable"
)

// The uses that verdicts are about.
const (
	UseUploads = "uploads"
	UseLogs    = "one-way logs"
	UseHTTP    = "HTTP/1.1"
)

// A Verdict is about one use of the server.
type Verdict struct {
	Use     string   `json:"use"`
	Verdict Safety   `json:"verdict"`
	Reasons []string `json:"reasons"`
}

// Safety is the worst of the verdicts.
func (r *Report) Safety() Safety {
	worst := Safe
	for _, v := range r.Verdicts {
		switch {
		case v.Verdict == Unsafe:
			return Unsafe
		case v.Verdict == UnknownSafety:
			worst = UnknownSafety
		}
	}
	return worst
}
