package proxy

import (
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are what a Server counts.
type Metrics struct {
	registry *prometheus.Registry

	open       prometheus.Gauge
	ended      map[outcome]prometheus.Counter
	bytes      map[side]prometheus.Counter
	handshakes prometheus.Histogram
	waited     prometheus.Counter
	deferred   prometheus.Counter
}

// NewMetrics returns metrics that are all zero.
func NewMetrics() *Metrics {
	const prefix = "tlsstream_proxy_"
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
		registry.MustRegister(c)
		return c
	}
	m := &Metrics{
		registry: registry,
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "connections", Help: "Connections that are carried, or in their handshake."}),
		handshakes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "handshake_seconds", Help: "Duration of TLS handshakes that succeeded; when originating, with the connecting.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}),
		waited:   counter("delayed_ends_total", "Ends of the plain side whose close_notify waited for the TLS peer to stop sending."),
		deferred: counter("deferred_records_total", "Session tickets and key updates that waited for the application's turn to write; of connections that have ended."),
		ended:    map[outcome]prometheus.Counter{},
		bytes:    map[side]prometheus.Counter{},
	}
	registry.MustRegister(m.open, m.handshakes)
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "connections_ended_total", Help: "Connections that have ended, by what became of them."}, []string{"outcome"})
	for _, o := range outcomes {
		m.ended[o] = ended.WithLabelValues(string(o)) // so that it is there before it happens
	}
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "received_bytes_total", Help: "Application data received, by the side it came from."}, []string{"side"})
	for _, from := range []side{tlsSide, plainSide} {
		m.bytes[from] = bytes.WithLabelValues(string(from))
	}
	registry.MustRegister(ended, bytes)
	return m
}

func (m *Metrics) carried(from side, n int) { m.bytes[from].Add(float64(n)) }

// WatchCertificate adds the time when the certificate in use expires.
func (m *Metrics) WatchCertificate(notAfter func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tlsstream_proxy_certificate_not_after_seconds", Help: "When the certificate in use expires, in Unix time."},
		func() float64 { return float64(notAfter().Unix()) }))
}

// Handler serves the metrics at /metrics, and net/http/pprof at /debug/pprof/.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
