package tlsstream_test

import (
	"crypto/tls"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// forClients runs f for each program at the same time.
func forClients(t *testing.T, f func(t *testing.T, c clientProgram)) {
	for _, c := range clientPrograms {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f(t, c)
		})
	}
}

// A fatal alert in the middle of a response is reported by every client, in every framing. An early close_notify and a
// bare FIN are not: where the response ends with the connection, half of the clients take them for success.
func TestClientsReportAnAbort(t *testing.T) {
	s := serveClients(t, listenClients(t, tlsstream.Options{}, abortCA.ServerConfig(), true), answer)
	forClients(t, func(t *testing.T, c clientProgram) {
		var paths []clientPath
		for _, framing := range framings {
			for _, ending := range endings {
				paths = append(paths, clientPath{framing, ending})
			}
		}
		c.check(t, s, paths)
	})
}

// The same on the *tls.Conn of a Listener.
func TestClientsReportAnAbortOfATLSConn(t *testing.T) {
	s := serveClients(t, listenClients(t, tlsstream.Options{}, abortCA.ServerConfig(), false), answer)
	forClients(t, func(t *testing.T, c clientProgram) { c.check(t, s, abortsInEveryFraming()) })
}

// On TLS 1.2 the alert is another one, and reported as well.
func TestClientsReportAnAbortOnTLS12(t *testing.T) {
	config := abortCA.ServerConfig()
	config.MaxVersion = tls.VersionTLS12
	says := map[string]string{
		"curl":             "alert bad record mac",
		"wget":             "A TLS fatal alert has been received",
		"python":           "SSLError [SSL: SSLV3_ALERT_BAD_RECORD_MAC]",
		"node":             "ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC",
		"Go":               "remote error: tls: bad record MAC",
		"openssl s_client": "SSL alert number 20",
		"gnutls-cli":       "*** Received alert [20]: Bad record MAC",
		"Java SSLSocket":   "SSLException: Received fatal alert: bad_record_mac",
	}
	for _, stream := range []bool{true, false} {
		s := serveClients(t, listenClients(t, tlsstream.Options{}, config, stream), answer)
		forClients(t, func(t *testing.T, c clientProgram) {
			c.abort.Says = says[c.name]
			c.check(t, s, abortsInEveryFraming()[2:])
		})
	}
}

func abortsInEveryFraming() (paths []clientPath) {
	for _, framing := range framings {
		paths = append(paths, clientPath{framing, "abort"})
	}
	return paths
}
