package tlsprom_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
	"github.com/deferredtls/deferredtls/tlsstream/tlsprom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ca = tlstest.NewCA()

// eventually asks again until there is no error. While a Conn waits, or drains, its
// Trace is told by a goroutine of its own, which may come after the Close.
func eventually(t *testing.T, name string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// upload sends some bytes from a client to a server, who both close, and then
// returns the bytes that the server held.
func upload(t *testing.T, client, server *tlsprom.Collector, version uint16) int64 {
	t.Helper()
	options := tlsstream.Options{Trace: server.Trace()}
	l, err := options.Listen("tcp", "127.0.0.1:0", ca.ServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type result struct {
		stats tlsstream.Stats
		err   error
	}
	done := make(chan result, 1)
	go func() {
		c, err := l.AcceptStream()
		if err != nil {
			done <- result{err: err}
			return
		}
		_, err = io.Copy(io.Discard, c)
		err = errors.Join(err, c.Close())
		done <- result{c.Stats(), err}
	}()
	config := ca.ClientConfig()
	config.MaxVersion = version
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	dialer := tlsstream.Dialer{Config: config, Options: tlsstream.Options{Trace: client.Trace()}}
	c, err := dialer.DialStream(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("upload")); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	served := <-done
	if served.err != nil {
		t.Error(served.err)
	}
	return served.stats.ReleasedBytes
}

func TestCollectorCountsAnUpload(t *testing.T) {
	client, server := tlsprom.NewCollector(), tlsprom.NewCollector()
	held := upload(t, client, server, tls.VersionTLS13)
	want := `
# HELP tlsstream_alerts_total TLS alerts, close_notify included.
# TYPE tlsstream_alerts_total counter
tlsstream_alerts_total{alert="close_notify",direction="received"} 1
tlsstream_alerts_total{alert="close_notify",direction="sent"} 1
# HELP tlsstream_deferral_on_total TLS sessions whose post-handshake records wait for the application.
# TYPE tlsstream_deferral_on_total counter
tlsstream_deferral_on_total 1
`
	for name, c := range map[string]*tlsprom.Collector{"client": client, "server": server} {
		eventually(t, name, func() error {
			return testutil.CollectAndCompare(c, strings.NewReader(want), "tlsstream_alerts_total", "tlsstream_deferral_on_total")
		})
	}
	if held == 0 {
		t.Error("the server held nothing")
	}
	metrics := gather(t, server)
	for name, value := range map[string]float64{
		"tlsstream_held_records_total{ticket}":    1,
		"tlsstream_held_bytes_total{ticket}":      float64(held),
		"tlsstream_released_records_total{alert}": 1,
		"tlsstream_released_bytes_total{alert}":   float64(held),
		"tlsstream_released_records_total{data}":  0,
		"tlsstream_key_updates_total{collapsed}":  0,
		"tlsstream_trace_lost_total{}":            0,
	} {
		if got, ok := metrics[name]; !ok || got != value {
			t.Errorf("%s: got %v, want %v", name, got, value)
		}
	}
	eventually(t, "client", func() error {
		if n := gather(t, client)["tlsstream_drain_seconds{close,peer_ended}"]; n != 1 {
			return fmt.Errorf("%v drains", n)
		}
		return nil
	})
}

func TestCollectorCountsWhyDeferralIsOff(t *testing.T) {
	client, server := tlsprom.NewCollector(), tlsprom.NewCollector()
	upload(t, client, server, tls.VersionTLS12)
	for name, c := range map[string]*tlsprom.Collector{"client": client, "server": server} {
		eventually(t, name, func() error {
			if m := gather(t, c); m["tlsstream_deferral_off_total{tls12}"] != 1 || m["tlsstream_deferral_on_total{}"] != 0 {
				return fmt.Errorf("%v", m)
			}
			return nil
		})
	}
}

// What crypto/tls and the gate can do in no short exchange is told by hand.
func TestCollectorCountsEveryKind(t *testing.T) {
	c := tlsprom.NewCollector()
	trace := c.Trace()
	var none net.Conn
	trace.Held(none, tlsstream.HeldInfo{Bytes: 27, KeyUpdate: true})
	trace.KeyUpdate(none, tlsstream.KeyUpdateInfo{State: ticketdefer.KeyUpdateCollapsed, Count: 3})
	trace.AlertSent(none, tlsstream.AlertInfo{})
	trace.AlertReceived(none, tlsstream.AlertInfo{Alert: 200, Known: true})
	trace.DrainEnd(none, tlsstream.DrainEndInfo{End: ticketdefer.DrainTimedOut})
	trace.Deferral(none, ticketdefer.DeferralNoSecret)
	trace.Lost(none, 5)
	metrics := gather(t, c)
	for name, value := range map[string]float64{
		"tlsstream_held_bytes_total{key_update}":      27,
		"tlsstream_key_updates_total{collapsed}":      3,
		"tlsstream_alerts_total{unknown,sent}":        1,
		"tlsstream_alerts_total{alert(200),received}": 1,
		"tlsstream_drain_seconds{close,timeout}":      1,
		"tlsstream_deferral_off_total{no_secret}":     1,
		"tlsstream_trace_lost_total{}":                5,
	} {
		if got := metrics[name]; got != value {
			t.Errorf("%s: got %v, want %v", name, got, value)
		}
	}
}

func TestCollectorPassesLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(tlsprom.NewCollector())
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// gather returns the values by name and labels; of a histogram its count.
func gather(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			value := m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				value = float64(h.GetSampleCount())
			}
			values[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return values
}
