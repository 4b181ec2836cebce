package tlsstream_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// Clients that know nothing of reasons report the alert as they do without one.
func TestClientsReportAnAbortWithReason(t *testing.T) {
	s := serveClients(t, listenClients(t, tlsstream.Options{Reasons: true}, abortCA.ServerConfig(), true), answer)
	forClients(t, func(t *testing.T, c clientProgram) {
		for i, end := range c.fetch(t, s, []clientPath{{"eof", "reason"}, {"eof", "reason"}}) {
			if diff := cmp.Diff(c.abort, end.got(c.abort)); diff != "" {
				t.Errorf("connection %d, -want +got:\n%s", i, diff)
			}
		}
	})
}

// A resumptionLog is which of the connections that a server had were resumptions.
type resumptionLog struct {
	mu      sync.Mutex
	resumed []bool // guarded by mu
}

func (l *resumptionLog) add(resumed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resumed = append(l.resumed, resumed)
}

func (l *resumptionLog) all() []bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.resumed)
}

// serveResumption starts a server with reasons for one client, which is to connect several times in a row.
func serveResumption(t *testing.T, config *tls.Config) (clientServer, *resumptionLog) {
	log := &resumptionLog{}
	s := serveClients(t, listenClients(t, tlsstream.Options{Reasons: true}, config, true), func(c net.Conn) {
		stream := c.(*tlsstream.Conn)
		if err := stream.Handshake(); err != nil {
			t.Error(err)
			return
		}
		log.add(stream.ConnectionState().DidResume)
		answer(c)
	})
	return s, log
}

// A resumer is a client that keeps sessions. It requests the paths in a row, on a connection each.
type reasonResumer struct {
	name    string
	request func(t *testing.T, s clientServer, paths []string)
	// want is what is resumed if the second of four connections is aborted.
	want []bool
}

var reasonResumers = []reasonResumer{
	{"openssl s_client", resumeByOpenSSL, []bool{false, true, true, true}},
	{"python", func(t *testing.T, s clientServer, paths []string) {
		resumeByProgram(t, s, paths, clientPython(t), "testdata/clients_resume.py", s.port, s.caFile)
	}, []bool{false, true, true, true}},
	{"node", func(t *testing.T, s clientServer, paths []string) {
		resumeByProgram(t, s, paths, tlstest.Program(t, "node"), "testdata/clients_resume.js", s.port, s.caFile)
	}, []bool{false, true, true, true}},
	{"Go", resumeByGo(), []bool{false, true, true, true}},
	// These two forget the session of a connection that ended with an alert.
	{"curl", func(t *testing.T, s clientServer, paths []string) {
		args := []string{"-q", "-sS", "--cacert", s.caFile}
		for _, p := range paths {
			args = append(args, "-o", os.DevNull, "https://"+s.addr()+p)
		}
		resumeByProgram(t, s, nil, tlstest.Program(t, "curl"), args...)
	}, []bool{false, true, false, true}},
	{"Java SSLSocket", func(t *testing.T, s clientServer, paths []string) {
		program, args := javaClient(t, s)
		resumeByProgram(t, s, paths, program, args...)
	}, []bool{false, true, false, true}},
}

func resumeByProgram(t *testing.T, s clientServer, paths []string, program string, args ...string) {
	runClient(t, "", program, append(args, paths...)...)
}

func resumeByOpenSSL(t *testing.T, s clientServer, paths []string) {
	session := filepath.Join(t.TempDir(), "session")
	args := []string{"s_client", "-quiet", "-CAfile", s.caFile, "-connect", s.addr(), "-sess_out", session}
	for _, p := range paths {
		runClient(t, fmt.Sprintf("GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", p), tlstest.Program(t, "openssl"), args...)
		if _, err := os.Stat(session); err == nil {
			args = append(args[:len(args):len(args)], "-sess_in", session)
		}
	}
}

// resumeByGo is crypto/tls with a session cache, and the certificates given.
func resumeByGo(certs ...tls.Certificate) func(t *testing.T, s clientServer, paths []string) {
	return func(t *testing.T, s clientServer, paths []string) {
		config := abortCA.ClientConfig()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		config.Certificates = certs
		for _, p := range paths {
			c, err := tls.Dial("tcp", s.addr(), config)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", p)
			<-abortListen(c)
		}
	}
}

// A reason costs a client that does not know of it no handshake: it resumes as it does after the alert alone.
func TestAReasonCostsUnawareClientsNothing(t *testing.T) {
	for _, r := range reasonResumers {
		for _, ending := range []string{"abort", "reason"} {
			t.Run(r.name+"/"+ending, func(t *testing.T) {
				t.Parallel()
				s, log := serveResumption(t, abortCA.ServerConfig())
				r.request(t, s, []string{"/eof/complete", "/eof/" + ending, "/eof/complete", "/eof/complete"})
				if diff := cmp.Diff(r.want, log.all()); diff != "" {
					t.Errorf("resumptions, -want +got:\n%s", diff)
				}
			})
		}
	}
}

// gnutls-cli goes away after the handshake, and comes back with the ticket that it was given: with a reason, too.
func TestAReasonCostsGnuTLSNothing(t *testing.T) {
	for _, text := range []string{"", "the disk is full"} {
		log := &resumptionLog{}
		s := serveClients(t, listenClients(t, tlsstream.Options{Reasons: true}, abortCA.ServerConfig(), true), func(c net.Conn) {
			stream := c.(*tlsstream.Conn)
			if err := stream.Handshake(); err != nil {
				t.Error(err)
				return
			}
			resumed := stream.ConnectionState().DidResume
			log.add(resumed)
			if resumed {
				answer(c)
				return
			}
			stream.AbortWithReason(tlsstream.AlertInternalError, text)
		})
		runClient(t, s.request(clientPath{"eof", "complete"}), tlstest.Program(t, "gnutls-cli"),
			"--resume", "--waitresumption", "--x509cafile", s.caFile, "--port", s.port, "127.0.0.1")
		if diff := cmp.Diff([]bool{false, true}, log.all()); diff != "" {
			t.Errorf("resumptions with reason %q, -want +got:\n%s", text, diff)
		}
	}
}

// The control: where the good ticket is too long to be repeated, a client of crypto/tls has the reason in its place,
// and makes one full handshake more.
func TestAReasonCostsAHandshakeWithoutTheGoodTicketControl(t *testing.T) {
	config := abortCA.ServerConfig()
	config.ClientAuth = tls.RequireAnyClientCert
	tests := []struct {
		certificate int
		want        []bool
	}{
		{10 << 10, []bool{false, true, true, true}},
		{20 << 10, []bool{false, true, false, true}},
	}
	for _, test := range tests {
		s, log := serveResumption(t, config)
		request := resumeByGo(abortCA.BigClient("alice", test.certificate))
		request(t, s, []string{"/eof/complete", "/eof/reason", "/eof/complete", "/eof/complete"})
		if diff := cmp.Diff(test.want, log.all()); diff != "" {
			t.Errorf("certificate of %d bytes, resumptions, -want +got:\n%s", test.certificate, diff)
		}
	}
}
