package probe

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/ftpd"
	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/proxy"
)

// The other servers of this program are what the remedies recommend.
func TestOurPrograms(t *testing.T) {
	want := truth{Tickets: 1, When: AfterBytes, KeyUpdate: Deferred, Resumes: ResumptionYes, Uploads: Safe, Logs: Safe, HTTP: Safe}
	t.Run("proxy", func(t *testing.T) {
		want.check(t, probe(t, Options{Address: serveProxy(t, serveHTTP(t, listen(t)))}))
	})
	t.Run("ftpd", func(t *testing.T) {
		want.noHTTP().check(t, probe(t, Options{Address: serveFTP(t), StartTLS: "ftp"}))
	})
}

// serveUntilEnd runs serve on a listener until the test ends, and stop has made it return.
func serveUntilEnd(t *testing.T, serve func(net.Listener) error, stop func(ctx context.Context)) string {
	t.Helper()
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- serve(l) }()
	t.Cleanup(func() {
		stop(t.Context()) // done by now: nothing is waited for
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func serveProxy(t *testing.T, backend string) string {
	t.Helper()
	s := proxy.New(proxy.Config{
		TLS: testCA.ServerConfig(), To: backend,
		Quiet: 100 * time.Millisecond, MaxConnections: 20,
		IdleTimeout: testTimeout, HandshakeTimeout: testTimeout, DialTimeout: testTimeout,
		Log: slog.New(slog.DiscardHandler), Metrics: proxy.NewMetrics(),
	})
	return serveUntilEnd(t, s.Serve, func(ctx context.Context) {
		s.Stop()
		s.Drain(ctx)
	})
}

func serveFTP(t *testing.T) string {
	t.Helper()
	s, err := ftpd.New(ftpd.Config{
		Users: ftpd.NewUsers(), TLS: testCA.ServerConfig(),
		MaxConnections: 20, Idle: testTimeout, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return serveUntilEnd(t, func(l net.Listener) error { return s.Serve(l, false) }, func(ctx context.Context) { s.Shutdown(ctx) })
}
