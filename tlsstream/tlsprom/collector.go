// Package tlsprom counts for Prometheus what the connections of package tlsstream do
// below the application. It is a package of its own so that tlsstream does without
// Prometheus's modules.
package tlsprom

import (
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A Collector is a prometheus.Collector that a [tlsstream.Trace] feeds. Its metrics
// are, with records and bytes on the wire:
//
//	tlsstream_held_records_total, tlsstream_held_bytes_total{message}: ticket, key_update
//	tlsstream_released_records_total, tlsstream_released_bytes_total{cause}: data, alert, flush, bound, deferral_off
//	tlsstream_key_updates_total{state}: seen, answered, collapsed
//	tlsstream_alerts_total{direction, alert}: sent or received; the name of RFC 8446, or unknown
//	tlsstream_drain_seconds{cause, end}: a histogram; close, abort or refusal; peer_ended, timeout, alert, reset or limit
//	tlsstream_deferral_on_total
//	tlsstream_deferral_off_total{reason}: tls12, no_secret, unopened, not_tls
//	tlsstream_trace_lost_total
//
// All labels are of small fixed sets, save that a peer can make 256 of the alerts.
// What one connection has had of the reasons is counted each: a connection
// whose secret is late counts as off, and then as on.
type Collector struct {
	heldRecords, heldBytes         *prometheus.CounterVec
	releasedRecords, releasedBytes *prometheus.CounterVec
	keyUpdates                     *prometheus.CounterVec
	alerts                         *prometheus.CounterVec
	drains                         *prometheus.HistogramVec
	deferralOn                     prometheus.Counter
	deferralOff                    *prometheus.CounterVec
	lost                           prometheus.Counter
}

var _ prometheus.Collector = (*Collector)(nil)

// drainBuckets are seconds. Drains end within a round trip, or at a timeout: 2
// seconds, if Options do not say otherwise.
var drainBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 2.5, 5, 10}

// Labels of what comes in fixed sets. They exist from the start, at zero, so that
// the first of a kind shows in a rate.
var (
	messages = []string{"ticket", "key_update"}
	causes   = map[ticketdefer.ReleaseCause]string{
		ticketdefer.ReleaseData:  "data",
		ticketdefer.ReleaseAlert: "alert",
		ticketdefer.ReleaseFlush: "flush",
		ticketdefer.ReleaseBound: "bound",
		ticketdefer.ReleaseOff:   "deferral_off",
	}
	states = map[ticketdefer.KeyUpdateState]string{
		ticketdefer.KeyUpdateSeen:      "seen",
		ticketdefer.KeyUpdateAnswered:  "answered",
		ticketdefer.KeyUpdateCollapsed: "collapsed",
	}
	drainCauses = map[ticketdefer.DrainCause]string{
		ticketdefer.DrainClose:   "close",
		ticketdefer.DrainAbort:   "abort",
		ticketdefer.DrainRefusal: "refusal",
	}
	drainEnds = map[ticketdefer.DrainEnd]string{
		ticketdefer.DrainPeerEnded: "peer_ended",
		ticketdefer.DrainTimedOut:  "timeout",
		ticketdefer.DrainAlerted:   "alert",
		ticketdefer.DrainReset:     "reset",
		ticketdefer.DrainLimit:     "limit",
	}
	reasons = map[ticketdefer.Deferral]string{
		ticketdefer.DeferralTLS12:      "tls12",
		ticketdefer.DeferralNoSecret:   "no_secret",
		ticketdefer.DeferralUnopened:   "unopened",
		ticketdefer.DeferralNotRecords: "not_tls",
	}
)

// NewCollector returns a Collector. To tell listeners apart, give each one of its own,
// and register it through prometheus.WrapRegistererWith, which adds a label.
func NewCollector() *Collector {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tlsstream", Name: name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "tlsstream", Name: name, Help: help})
	}
	c := &Collector{
		heldRecords:     counter("held_records_total", "Post-handshake records that had to wait for the application.", "message"),
		heldBytes:       counter("held_bytes_total", "Bytes of post-handshake records that had to wait for the application.", "message"),
		releasedRecords: counter("released_records_total", "Records that waited and were released.", "cause"),
		releasedBytes:   counter("released_bytes_total", "Bytes of the records that waited and were released.", "cause"),
		keyUpdates:      counter("key_updates_total", "Answers to KeyUpdate: seen, and then answered or collapsed into another.", "state"),
		alerts:          counter("alerts_total", "TLS alerts, close_notify included.", "direction", "alert"),
		drains: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "tlsstream", Name: "drain_seconds", Buckets: drainBuckets,
			Help: "How long a side read to its peer's end before it closed.",
		}, []string{"cause", "end"}),
		deferralOn:  single("deferral_on_total", "TLS sessions whose post-handshake records wait for the application."),
		deferralOff: counter("deferral_off_total", "Times that deferral was found to be off.", "reason"),
		lost:        single("trace_lost_total", "Events that are missing in these metrics."),
	}
	for _, message := range messages {
		c.heldRecords.WithLabelValues(message)
		c.heldBytes.WithLabelValues(message)
	}
	for _, cause := range causes {
		c.releasedRecords.WithLabelValues(cause)
		c.releasedBytes.WithLabelValues(cause)
	}
	for _, state := range states {
		c.keyUpdates.WithLabelValues(state)
	}
	for _, reason := range reasons {
		c.deferralOff.WithLabelValues(reason)
	}
	return c
}

func (c *Collector) all() []prometheus.Collector {
	return []prometheus.Collector{
		c.heldRecords, c.heldBytes, c.releasedRecords, c.releasedBytes,
		c.keyUpdates, c.alerts, c.drains, c.deferralOn, c.deferralOff, c.lost,
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range c.all() {
		m.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	for _, m := range c.all() {
		m.Collect(to)
	}
}

// Trace returns what goes into [tlsstream.Options]. It may serve any number of
// connections, listeners and dialers.
func (c *Collector) Trace() *tlsstream.Trace {
	return &tlsstream.Trace{
		Held: func(_ net.Conn, i tlsstream.HeldInfo) {
			message := messages[0]
			if i.KeyUpdate {
				message = messages[1]
			}
			c.heldRecords.WithLabelValues(message).Inc()
			c.heldBytes.WithLabelValues(message).Add(float64(i.Bytes))
		},
		Released: func(_ net.Conn, i tlsstream.ReleasedInfo) {
			c.releasedRecords.WithLabelValues(causes[i.Cause]).Add(float64(i.Records))
			c.releasedBytes.WithLabelValues(causes[i.Cause]).Add(float64(i.Bytes))
		},
		KeyUpdate: func(_ net.Conn, i tlsstream.KeyUpdateInfo) {
			c.keyUpdates.WithLabelValues(states[i.State]).Add(float64(i.Count))
		},
		AlertSent: func(_ net.Conn, i tlsstream.AlertInfo) {
			c.alerts.WithLabelValues("sent", i.String()).Inc()
		},
		AlertReceived: func(_ net.Conn, i tlsstream.AlertInfo) {
			c.alerts.WithLabelValues("received", i.String()).Inc()
		},
		DrainEnd: func(_ net.Conn, i tlsstream.DrainEndInfo) {
			c.drains.WithLabelValues(drainCauses[i.Cause], drainEnds[i.End]).Observe(i.Took.Seconds())
		},
		Deferral: func(_ net.Conn, d ticketdefer.Deferral) {
			if reason, off := reasons[d]; off {
				c.deferralOff.WithLabelValues(reason).Inc()
			} else {
				c.deferralOn.Inc()
			}
		},
		Lost: func(_ net.Conn, n int) { c.lost.Add(float64(n)) },
	}
}
