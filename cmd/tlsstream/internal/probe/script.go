package probe

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// watchTickets is the first connection. Its errors end the probe.
func (s *script) watchTickets() error {
	p, t, err := s.shake(true)
	if err != nil {
		return err
	}
	defer p.conn.Close()
	w := &ticketWatch{script: s, peer: p}
	for _, phase := range []struct {
		moment Moment
		act    func() error
	}{
		{FirstFlight, func() error { return nil }},
		{AfterFinished, t.release},
		{AfterBytes, func() error { return p.sendData(s.options.Send) }},
		{AtEnd, p.sendCloseNotify},
	} {
		if err := w.phase(phase.moment, phase.act); err != nil {
			return s.watchError(err)
		}
		if refused := w.refused(phase.moment); refused != nil {
			return refused
		}
		if w.ending != "" {
			break
		}
	}
	s.replied = p.banner
	s.report.End = EndReport{Ending: w.ending, Alert: w.alert, After: w.ended}
	if w.ending == "" {
		s.report.End = EndReport{Ending: EndNone, After: AtEnd}
	}
	return nil
}

// A ticketWatch notes what comes in the phases of a connection.
type ticketWatch struct {
	*script
	*peer
	ending Ending
	alert  string
	ended  Moment
	data   bool
}

// phase does something, and notes what comes of it.
func (w *ticketWatch) phase(moment Moment, act func() error) error {
	start := time.Now()
	if err := act(); err != nil && !isReset(err) {
		return err
	}
	events, err := w.watch(w.wait, w.deadline)
	if err != nil {
		return err
	}
	isData := func(e event) bool { return e.kind == data }
	// Tickets that answer our bytes and come without any of the server's are its own idea, too.
	alone := moment.unasked() || moment == AfterBytes && !slices.ContainsFunc(events, isData)
	tickets := &w.report.Tickets
	for i, e := range events {
		switch e.kind {
		case ticket:
			m := moment
			unasked := alone
			if unasked && carried(events, i) {
				m, unasked = WithData, false
			}
			if tickets.Count == 0 {
				tickets.When = m
			}
			tickets.Count++
			tickets.Bytes += e.wire
			if unasked {
				tickets.UnaskedCount++
				tickets.UnaskedBytes += e.wire
			}
			tickets.Each = append(tickets.Each, Ticket{Bytes: e.bytes, When: m, Milliseconds: milliseconds(e.at.Sub(start))})
		case data:
			w.data = true
			w.greets = w.greets || moment.unasked()
		}
	}
	if ending, alert := ended(events); ending != "" {
		w.ending, w.alert, w.ended = ending, alert, moment
	}
	return nil
}

// refused is the error for a server that ended the stream though the client had done nothing yet.
func (w *ticketWatch) refused(moment Moment) error {
	if !moment.unasked() || w.ending == "" || w.data {
		return nil
	}
	e := &Error{Class: NotTLS, Side: "server", Stage: stageWatch, Err: fmt.Errorf("it ended the connection (%s)", w.ending),
		Hint: "look into its log; it may want another name (--servername) or a client certificate (--client-cert)"}
	if w.alert != "" {
		e.Err = fmt.Errorf("it refused the client: %s", w.alert)
		e.Hint = "if it wants a client certificate, give one with --client-cert and --client-key"
	}
	return e
}

// carried tells whether application data came in one piece with an event, behind it: then the server wrote that, and
// the event's message went out with it. What TLS sends of its own accord goes out by itself.
func carried(events []event, i int) bool {
	return slices.ContainsFunc(events[i:], func(e event) bool { return e.kind == data && e.burst == events[i].burst })
}

// ended finds the end of the stream; "" if it goes on. What TLS said of it counts, not what TCP did then.
func ended(events []event) (Ending, string) {
	for _, e := range events {
		switch e.kind {
		case closeNotify:
			return EndCloseNotify, ""
		case otherAlert:
			return EndAlert, tlsstream.Alert(e.alert).String()
		case fin:
			return EndFIN, ""
		case reset:
			return EndReset, ""
		}
	}
	return "", ""
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// watchKeyUpdate is the second connection.
func (s *script) watchKeyUpdate() {
	report := &s.report.KeyUpdate
	if err := s.keyUpdate(report); err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			err = s.watchError(err)
		}
		report.Answer, report.Note = Untold, err.Error()
	}
}

func (s *script) keyUpdate(report *KeyUpdateReport) error {
	p, _, err := s.shake(false)
	if err != nil {
		return err
	}
	defer p.conn.Close()
	if s.greets {
		// What the server says first would carry the answer, which is then deferred and looks as if it came at once.
		if _, err := p.watch(s.wait, s.deadline); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := p.requestKeyUpdate(); err != nil {
		return err
	}
	events, err := p.watch(s.wait, s.deadline)
	if err != nil {
		return err
	}
	isAnswer := func(e event) bool { return e.kind == keyUpdate }
	if i := slices.IndexFunc(events, isAnswer); i >= 0 && !carried(events, i) {
		report.Answer, report.Milliseconds = AtOnce, milliseconds(events[i].at.Sub(start))
		p.sendCloseNotify()
		return nil
	}
	if ending, alert := ended(events); ending != "" {
		report.Answer, report.Note = Refused, ending.describe(alert)
		return nil
	}
	if err := p.sendData(s.options.Send); err != nil {
		return err
	}
	more, err := p.watch(s.wait, s.deadline)
	if err != nil {
		return err
	}
	events = append(events, more...)
	wrote := slices.ContainsFunc(events, func(e event) bool { return e.kind == data })
	i := slices.IndexFunc(events, isAnswer)
	switch {
	case i >= 0 && wrote:
		report.Answer = Deferred
	case i >= 0: // our bytes brought it about, and nothing that the server had to write
		report.Answer, report.Milliseconds = AtOnce, milliseconds(events[i].at.Sub(start))
	case wrote:
		report.Answer = NotAtAll
	default:
		report.Answer = Unanswered
	}
	p.sendCloseNotify()
	return nil
}

// watchTruncation is the third connection. It breaks off in the middle of the first request.
func (s *script) watchTruncation() {
	p, _, err := s.shake(false)
	if err != nil {
		return
	}
	defer p.conn.Close()
	half, ok := p.conn.(interface{ CloseWrite() error })
	if !ok || p.sendData(s.options.Send[:len(s.options.Send)/2]) != nil || half.CloseWrite() != nil {
		return
	}
	events, err := p.watch(s.wait, s.deadline)
	if err != nil {
		return
	}
	ending, alert := ended(events)
	if ending == "" {
		ending = EndNone
	}
	s.report.Truncation = TruncationReport{
		Reported: ending == EndAlert || ending == EndReset,
		Ending:   ending, Alert: alert,
	}
}

// errNoTicket ends a try at resumption.
var errNoTicket = errors.New("no ticket came")

// tryResumption takes a ticket on one connection, and offers it on another.
func (s *script) tryResumption() {
	report := &s.report.Resumption
	if s.report.Tickets.Count == 0 {
		report.Resumes = ResumptionNoTickets
		return
	}
	cache := &sessionCache{ClientSessionCache: tls.NewLRUClientSessionCache(1), put: make(chan struct{})}
	_, err := s.stockClient(cache)
	if err == nil && !cache.has() {
		err = errNoTicket
	}
	var resumed bool
	if err == nil {
		resumed, err = s.stockClient(cache)
	}
	switch {
	case err != nil:
		report.Note = err.Error()
	case resumed:
		report.Resumes = ResumptionYes
	default:
		report.Resumes = ResumptionNo
	}
}

// stockClient exchanges the first bytes as crypto/tls does, until a ticket comes.
func (s *script) stockClient(cache *sessionCache) (resumed bool, err error) {
	conn, err := s.dial()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	s.stage = stageHandshake
	config := s.options.goConfig()
	config.ClientSessionCache = cache
	client := tls.Client(conn, config)
	if err := client.HandshakeContext(s.ctx); err != nil {
		return false, err
	}
	resumed = client.ConnectionState().DidResume
	if _, err := client.Write(s.options.Send); err != nil {
		return resumed, nil // the cache has a ticket, or has not
	}
	until := time.Now().Add(s.wait)
	if until.Before(s.deadline) {
		conn.SetReadDeadline(until)
	}
	buf := make([]byte, maxPlaintext)
	for total := 0; total < maxPhaseBytes && !cache.has(); {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		total += n
	}
	client.Close()
	return resumed, nil
}

// A sessionCache tells when it is given a session.
type sessionCache struct {
	tls.ClientSessionCache
	put chan struct{}
}

// Put is also called with nil, to take a session out.
func (c *sessionCache) Put(key string, session *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, session)
	if session != nil && !c.has() {
		close(c.put)
	}
}

func (c *sessionCache) has() bool {
	select {
	case <-c.put:
		return true
	default:
		return false
	}
}
