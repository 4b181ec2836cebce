package tlsprom_test

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
	"github.com/deferredtls/deferredtls/tlsstream/tlsprom"
)

// A server of uploads that counts, and the page that Prometheus reads. The same
// listener may go into http.Serve.
func ExampleCollector() {
	collector := tlsprom.NewCollector()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	page := promhttp.HandlerFor(registry, promhttp.HandlerOpts{}) // serve it where only Prometheus comes

	ca := tlstest.NewCA() // use your own certificate
	options := tlsstream.Options{Trace: collector.Trace()}
	l, err := options.Listen("tcp", "127.0.0.1:0", ca.ServerConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.AcceptStream()
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, c)
		c.Close()
	}()

	c, err := tlsstream.Dial("tcp", l.Addr().String(), ca.ClientConfig())
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(c, "an upload")
	c.Close()
	<-served

	answer := httptest.NewRecorder()
	page.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "tlsstream_alerts_total") || strings.HasPrefix(line, "tlsstream_deferral_on") {
			fmt.Print(line)
		}
	}

	// It prints, once the connection's last events have been told:
	//
	// tlsstream_alerts_total{alert="close_notify",direction="received"} 1
	// tlsstream_alerts_total{alert="close_notify",direction="sent"} 1
	// tlsstream_deferral_on_total 1
}
