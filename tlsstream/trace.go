package tlsstream

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer"
)

// A Trace is a set of functions that are called for what happens below the
// application, in the manner of net/http/httptrace.ClientTrace. Any of them may be
// nil. It goes into [Options], and one Trace may serve any number of connections. It
// must not be changed while it is in use.
//
// c is the connection: a *Conn, or the *tls.Conn of [Listener.Accept] and
// [Dialer.DialContext], or nil for an Engine. Sizes are bytes of ciphertext, headers
// included. No function is told a secret, or anything of what was sent.
//
// # Order and concurrency
//
// The functions are called for one connection one at a time and in the order of the
// events, whichever direction they are of; for several connections at once. No lock
// of this package is held, nor the one under which crypto/tls logs secrets, so they may
// call any method of the connection; an event that this causes is told when the
// function has returned.
//
// On a *Conn and an Engine events are told before the call that caused them returns,
// by that call or by a goroutine that is telling earlier ones: keep the functions
// short. While a Conn waits for its transport in Read, or drains, a goroutine of their
// own tells them, as it does for what Options.WriteBehind sends. So it is with all
// events of a *tls.Conn, since crypto/tls holds locks of its own; they may come after
// the call has returned. What waits because a function does not return is bounded: see
// Lost.
//
// An event says what this side has decided. Bytes that are released, and alerts that are
// sent, are due from then on; the transport may still fail to take them.
type Trace struct {
	// Held is called when a post-handshake record begins to wait for the
	// application (RFC 8446 4.6.1, 4.6.3). What is held when a connection is closed
	// without close_notify is dropped, and no function is called for that.
	Held func(c net.Conn, i HeldInfo)

	// Released is called when everything held has become due, in front of what the
	// Cause names (RFC 8446 4.6).
	Released func(c net.Conn, i ReleasedInfo)

	// KeyUpdate is called for the answers to KeyUpdates of the peer's (RFC 8446
	// 4.6.3).
	KeyUpdate func(c net.Conn, i KeyUpdateInfo)

	// AlertSent is called for alerts of this side, close_notify included (RFC 8446
	// 6). One that TLS 1.2 has encrypted is not Known. One with which a TLS 1.3 server
	// breaks off its own flight is not told on a *tls.Conn.
	AlertSent func(c net.Conn, i AlertInfo)

	// AlertReceived is called for the alert with which the peer ends its stream,
	// close_notify included, when the call that reads it finds it. On a *tls.Conn
	// it is called only for alerts that make Dialer.DialContext fail: crypto/tls
	// returns others from Read and Write, and this layer does not see them.
	AlertReceived func(c net.Conn, i AlertInfo)

	// DrainBegin is called when this side has said its last word and begins to
	// read and discard, up to the peer's end: see Options.DrainTimeout. A close on top
	// of unread input sends RST (RFC 1122 4.2.2.13), which can destroy an alert
	// (RFC 8446 6). There is one DrainEnd for each.
	DrainBegin func(c net.Conn, i DrainInfo)
	DrainEnd   func(c net.Conn, i DrainEndInfo)

	// Deferral is called when deferral of post-handshake messages (RFC 8446 4.6) is
	// found to be on, or off, and why. It may be off for want of a secret first, and
	// on later.
	Deferral func(c net.Conn, d ticketdefer.Deferral)

	// Lost is called in place of n calls that were left out, because 1,024 were
	// waiting for one of these functions to return.
	Lost func(c net.Conn, n int)
}

// HeldInfo is of one record.
type HeldInfo struct {
	Bytes     int
	KeyUpdate bool // it answers a KeyUpdate; else it is of a NewSessionTicket

	TotalRecords, TotalBytes int // what is held now, with this record
}

// ReleasedInfo is of the records that have become due together.
type ReleasedInfo struct {
	Records, Bytes int
	Cause          ticketdefer.ReleaseCause
}

// KeyUpdateInfo is of Count answers to KeyUpdates. Each is seen once, and
// then answered or collapsed, unless the connection ends before that.
type KeyUpdateInfo struct {
	State ticketdefer.KeyUpdateState
	Count int
}

// AlertInfo is of one alert.
type AlertInfo struct {
	Alert Alert
	Known bool // Alert is set
}

// String returns the alert's name, or "unknown".
func (i AlertInfo) String() string {
	if !i.Known {
		return "unknown"
	}
	return i.Alert.String()
}

// DrainInfo is of the beginning of a drain.
type DrainInfo struct {
	Cause  ticketdefer.DrainCause
	Within time.Duration // the longest that it may take, if no deadline is earlier
}

// DrainEndInfo is of the end of a drain.
type DrainEndInfo struct {
	DrainInfo
	Took time.Duration
	End  ticketdefer.DrainEnd
}

// observer returns what collects the events of c for t; nil without a Trace.
func (t *Trace) observer(c net.Conn) *ticketdefer.Observer {
	if t == nil {
		return nil
	}
	return ticketdefer.NewObserver(func(e ticketdefer.Event) { t.tell(c, &e) })
}

// observe traces c, which runs over layer.
func (t *Trace) observe(layer *ticketdefer.Conn, c *tls.Conn) *ticketdefer.Observer {
	o := t.observer(c)
	if o != nil {
		layer.Observe(o)
	}
	return o
}

func (t *Trace) tell(c net.Conn, e *ticketdefer.Event) {
	switch e.Kind {
	case ticketdefer.EventHeld:
		call(t.Held, c, HeldInfo{e.Bytes, e.KeyUpdate, e.TotalRecords, e.TotalBytes})
	case ticketdefer.EventReleased:
		call(t.Released, c, ReleasedInfo{e.Records, e.Bytes, e.Cause})
	case ticketdefer.EventKeyUpdate:
		call(t.KeyUpdate, c, KeyUpdateInfo{e.State, e.Count})
	case ticketdefer.EventAlert:
		f := t.AlertSent
		if e.Remote {
			f = t.AlertReceived
		}
		call(f, c, AlertInfo{Alert(e.Alert), e.Known})
	case ticketdefer.EventDeferral:
		call(t.Deferral, c, e.Deferral)
	case ticketdefer.EventDrainBegin:
		call(t.DrainBegin, c, DrainInfo{e.Drain, e.Within})
	case ticketdefer.EventDrainEnd:
		call(t.DrainEnd, c, DrainEndInfo{DrainInfo{e.Drain, e.Within}, e.Took, e.End})
	case ticketdefer.EventLost:
		call(t.Lost, c, e.Lost)
	}
}

func call[I any](f func(net.Conn, I), c net.Conn, info I) {
	if f != nil {
		f(c, info)
	}
}

// drainEnd tells from its error why a drain has ended.
func drainEnd(err error) ticketdefer.DrainEnd {
	var alert *AlertError
	if errors.As(err, &alert) && alert.Remote {
		return ticketdefer.DrainAlerted
	}
	return ticketdefer.DrainEndOf(err)
}

func (c *Conn) deliver() { c.engine.trace.Deliver() }

// deliver is for an engine that is not a Conn's: a Conn has locks of its own.
func (e *Engine) deliver() {
	if e.netConn == nil {
		e.trace.Deliver()
	}
}

// noteRemoteAlert notes the peer's last word, once.
func (e *Engine) noteRemoteAlert(a Alert) {
	if e.trace != nil && e.peerAlerted.CompareAndSwap(false, true) {
		e.trace.Note(ticketdefer.Event{Kind: ticketdefer.EventAlert, Alert: uint8(a), Known: true, Remote: true})
	}
}

// noteLocalAlert notes the alert of a handshake that has failed, if the gate, which
// had seen so many alerts before, could not tell that there was one.
func (e *Engine) noteLocalAlert(err error, before int64) {
	if alert, remote, ok := alertOf(err); ok && !remote && e.wire.gate.Alerts() == before {
		e.trace.Note(ticketdefer.Event{Kind: ticketdefer.EventAlert, Alert: uint8(alert), Known: true})
	}
}

// noteAlertOf notes the peer's alert in an error of crypto/tls.
func noteAlertOf(o *ticketdefer.Observer, err error) {
	if alert, remote, ok := alertOf(err); ok && remote {
		o.Note(ticketdefer.Event{Kind: ticketdefer.EventAlert, Alert: uint8(alert), Known: true, Remote: true})
		o.DeliverAside()
	}
}
