package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Run probes a server. An error is an *OptionError, or an *Error; with the latter the report has what was found before.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	s := &script{ctx: timed, options: &o, report: &Report{
		Address: o.Address, ServerName: o.ServerName, StartTLS: o.StartTLS, Fingerprint: o.Fingerprint,
		Tickets:    TicketsReport{When: Never, Each: []Ticket{}},
		KeyUpdate:  KeyUpdateReport{Answer: Untold},
		End:        EndReport{Ending: EndUntold},
		Truncation: TruncationReport{Ending: EndUntold},
		Resumption: ResumptionReport{Resumes: ResumptionUnknown},
		Verdicts:   []Verdict{}, Remedies: []string{},
	}}
	s.deadline, _ = timed.Deadline()
	err := s.run()
	if ctx.Err() != nil {
		err = &Error{Class: Interrupted, Side: "client", Stage: s.stage, Err: ctx.Err()}
	}
	return s.report, err
}

// A script is one probe.
type script struct {
	ctx      context.Context
	deadline time.Time
	options  *Options
	report   *Report

	stage    string
	wait     time.Duration
	greets   bool   // the server speaks first
	replied  []byte // application data
	greeting []byte // before TLS
}

func (s *script) run() error {
	if err := s.watchTickets(); err != nil {
		return err
	}
	s.watchKeyUpdate()
	s.watchTruncation()
	s.tryResumption()
	s.report.Software = software(s.greeting, s.replied)
	s.report.Verdicts = verdicts(s.report)
	s.report.Remedies = remedies(s.report)
	return nil
}

// dial connects and gets to where TLS begins.
func (s *script) dial() (net.Conn, error) {
	s.stage = stageConnect
	start := time.Now()
	conn, err := new(net.Dialer).DialContext(s.ctx, "tcp", s.options.Address)
	if err != nil {
		return nil, connectError(err)
	}
	s.wait = max(s.options.Wait, 4*time.Since(start))
	context.AfterFunc(s.ctx, func() { conn.Close() })
	conn.SetDeadline(s.deadline)
	if p := protocolOf(s.options.StartTLS); p != nil {
		s.stage = stagePreamble
		c := &plain{ReadWriter: conn, host: s.options.ServerName}
		err := p.preamble(c)
		s.greeting = c.said
		if err != nil {
			conn.Close()
			return nil, s.preambleError(err, c)
		}
	}
	return conn, nil
}

func (s *script) preambleError(err error, c *plain) *Error {
	e := &Error{Class: NotTLS, Side: "server", Stage: stagePreamble, Err: err,
		Hint: fmt.Sprintf("check that it speaks %s, and that TLS is configured there", s.options.StartTLS)}
	if len(c.said) > 0 && looksLikeTLS(c.said) || (isEOF(err) || s.timedOut(err)) && len(c.said) == 0 {
		e.Hint = "if TLS begins at once on this port, leave out --starttls"
	}
	switch {
	case s.timedOut(err):
		e.Class, e.Err = Silent, fmt.Errorf("no answer in time (%s)", s.options.StartTLS)
	case isEOF(err) || isReset(err):
		e.Err = fmt.Errorf("it closed the connection (%s)", s.options.StartTLS)
	}
	return e
}

// timedOut tells whether the end of the probe's time caused an error, in whatever guise.
func (s *script) timedOut(err error) bool {
	return isTimeout(err) || errors.Is(s.ctx.Err(), context.DeadlineExceeded)
}

// shake connects, shakes hands and takes over the keys. With hold the client's Finished is not sent yet.
func (s *script) shake(hold bool) (*peer, *transport, error) {
	conn, err := s.dial()
	if err != nil {
		return nil, nil, err
	}
	s.stage = stageHandshake
	t := &transport{Conn: conn, holding: hold}
	h, err := shake(s.ctx, t, s.options)
	if err != nil {
		t.glance()
		conn.Close()
		if s.timedOut(err) {
			err = context.DeadlineExceeded
		}
		return nil, nil, handshakeError(err, t.seen, s.options)
	}
	s.report.TLS = h.TLSReport
	if h.version < tls.VersionTLS13 {
		conn.Close()
		return nil, nil, &Error{Class: OldTLS, Side: "server", Stage: stageHandshake,
			Err: fmt.Errorf("it speaks %s, not TLS 1.3", h.Version), Hint: oldHint}
	}
	s.stage = stageWatch
	p := &peer{conn: conn}
	var errs [2]error
	p.out, errs[0] = h.epoch("CLIENT_TRAFFIC_SECRET_0")
	p.in, errs[1] = h.epoch("SERVER_TRAFFIC_SECRET_0")
	if err := errors.Join(errs[:]...); err != nil {
		conn.Close()
		return nil, nil, &Error{Class: NotTLS, Side: "client", Stage: stageHandshake, Err: err}
	}
	return p, t, nil
}

// watchError is for what goes wrong on a stream that had begun.
func (s *script) watchError(err error) *Error {
	e := &Error{Class: NotTLS, Side: "server", Stage: stageWatch, Err: err,
		Hint: "the server breaks TLS 1.3, or something in between does"}
	if s.timedOut(err) {
		e.Class, e.Side, e.Err = Silent, "client", errors.New("the time was used up")
		e.Hint = "give more with --timeout"
	}
	return e
}
