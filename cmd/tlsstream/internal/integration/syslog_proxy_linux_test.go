package integration

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/proxy"
	"github.com/deferredtls/deferredtls/torture/bench"
)

// syslogSocket is the size in bytes of each of the kernel's buffers between rsyslogd and the sink. All of them hold a part
// of the lines only: the rest is in rsyslogd's own send queue when it goes.
const syslogSocket = 16 << 10

// Behind a proxy the sink is plain TCP, and knows nothing of tickets: what crypto/tls loses at the proxy is lost to a
// service that has done nothing wrong. With our proxy in the same place nothing is.
func TestSyslogLinesArriveThroughProxy(t *testing.T) {
	testSyslog(t, func(t *testing.T, layer layer) (string, func(<-chan struct{}) syslogSink) {
		sink, front := listenSmall(t, syslogSocket), listenSmall(t, syslogSocket)
		if layer.defers {
			startProxy(t, front, sink.Addr().String())
		} else {
			go bench.StockProxy(front, syslogTLS(), sink.Addr().String(), syslogSocket)
		}
		return front.Addr().String(), func(gone <-chan struct{}) syslogSink { return receiveSyslog(sink, nil, gone) }
	})
}

// startProxy runs our proxy until the test ends, when all that it carries must have ended too.
func startProxy(t *testing.T, l net.Listener, to string) {
	server := proxy.New(proxy.Config{
		TLS: syslogTLS(), To: to,
		Quiet: 300 * time.Millisecond, MaxConnections: 10, SocketBuffer: syslogSocket,
		IdleTimeout: testTimeout, HandshakeTimeout: testTimeout, DialTimeout: testTimeout,
		Log: slog.New(slog.DiscardHandler), Metrics: proxy.NewMetrics(),
	})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if cut := server.Drain(ctx); cut > 0 {
			t.Errorf("%d connections did not end", cut)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
