package tlsstream_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// clientPrograms are clients as people have them, and what they make of each end.
var clientPrograms = []clientProgram{
	{
		name:        "curl",
		fetch:       eachByProgram(fetchCurl),
		complete:    clientEnd{0, ""},
		abort:       clientEnd{56, "tlsv1 alert internal error"},
		lengthClose: clientEnd{18, "transfer closed with"},
		lengthFIN:   clientEnd{18, "transfer closed with"},
		eofClose:    clientEnd{0, ""},
		eofFIN:      clientEnd{0, ""},
	},
	{
		name:        "wget",
		fetch:       eachByProgram(fetchWget),
		complete:    clientEnd{0, "saved"},
		abort:       clientEnd{4, "A TLS fatal alert has been received"},
		lengthClose: clientEnd{4, ""},
		lengthFIN:   clientEnd{4, ""},
		eofClose:    clientEnd{0, "saved"},
		eofFIN:      clientEnd{4, "The TLS connection was non-properly terminated"},
	},
	{
		name:        "python",
		fetch:       eachByProgram(fetchPython),
		complete:    clientEnd{0, "complete 10000"},
		abort:       clientEnd{1, "SSLError [SSL: TLSV1_ALERT_INTERNAL_ERROR]"},
		lengthClose: clientEnd{1, "IncompleteRead"},
		lengthFIN:   clientEnd{1, "IncompleteRead"},
		eofClose:    clientEnd{0, "complete 5000"},
		eofFIN:      clientEnd{0, "complete 5000"},
	},
	{
		name:        "node",
		fetch:       eachByProgram(fetchNode),
		complete:    clientEnd{0, "complete 10000"},
		abort:       clientEnd{1, "request error ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR"},
		lengthClose: clientEnd{1, "response error ECONNRESET"},
		lengthFIN:   clientEnd{1, "response error ECONNRESET"},
		eofClose:    clientEnd{0, "complete 5000"},
		eofFIN:      clientEnd{0, "complete 5000"},
	},
	{
		name:        "Go",
		fetch:       eachByProgram(fetchGo),
		complete:    clientEnd{0, "complete 10000"},
		abort:       clientEnd{1, "remote error: tls: internal error"},
		lengthClose: clientEnd{1, "unexpected EOF"},
		lengthFIN:   clientEnd{1, "unexpected EOF"},
		eofClose:    clientEnd{0, "complete 5000"},
		eofFIN:      clientEnd{0, "complete 5000"},
	},
	{
		name:        "openssl s_client",
		fetch:       eachByProgram(fetchOpenSSL),
		complete:    clientEnd{0, ""},
		abort:       clientEnd{1, "SSL alert number 80"},
		lengthClose: clientEnd{0, ""},
		lengthFIN:   clientEnd{1, "unexpected eof while reading"},
		eofClose:    clientEnd{0, ""},
		eofFIN:      clientEnd{1, "unexpected eof while reading"},
	},
	{
		name:        "gnutls-cli",
		fetch:       eachByProgram(fetchGnuTLS),
		complete:    clientEnd{0, "Peer has closed the GnuTLS connection"},
		abort:       clientEnd{1, "*** Received alert [80]: Internal error"},
		lengthClose: clientEnd{0, "Peer has closed the GnuTLS connection"},
		lengthFIN:   clientEnd{1, "The TLS connection was non-properly terminated"},
		eofClose:    clientEnd{0, "Peer has closed the GnuTLS connection"},
		eofFIN:      clientEnd{1, "The TLS connection was non-properly terminated"},
	},
	{
		name:        "Java SSLSocket",
		fetch:       fetchJava,
		complete:    clientEnd{0, "complete"},
		abort:       clientEnd{0, "SSLException: Received fatal alert: internal_error"},
		lengthClose: clientEnd{0, "complete"},
		lengthFIN:   clientEnd{0, "complete"},
		eofClose:    clientEnd{0, "complete"},
		eofFIN:      clientEnd{0, "complete"},
	},
}

// eachByProgram makes a fetch of a program that is run once for each path.
func eachByProgram(run func(*testing.T, clientServer, clientPath) clientEnd) fetchPaths {
	return func(t *testing.T, s clientServer, paths []clientPath) (ends []clientEnd) {
		for _, p := range paths {
			ends = append(ends, run(t, s, p))
		}
		return ends
	}
}

func (s clientServer) addr() string            { return "127.0.0.1:" + s.port }
func (s clientServer) url(p clientPath) string { return "https://" + s.addr() + p.String() }

// request is for clients that do not speak HTTP.
func (s clientServer) request(p clientPath) string {
	return fmt.Sprintf("GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", p)
}

func fetchCurl(t *testing.T, s clientServer, p clientPath) clientEnd {
	return runClient(t, "", tlstest.Program(t, "curl"), "-q", "-sS", "-o", os.DevNull, "--cacert", s.caFile, s.url(p))
}

func fetchWget(t *testing.T, s clientServer, p clientPath) clientEnd {
	return runClient(t, "", tlstest.Program(t, "wget"), "--no-config", "--progress=dot", "-O", os.DevNull, "--tries=1",
		"--ca-certificate="+s.caFile, s.url(p))
}

func fetchPython(t *testing.T, s clientServer, p clientPath) clientEnd {
	return runClient(t, "", clientPython(t), "testdata/clients_fetch.py", s.url(p), s.caFile)
}

func fetchNode(t *testing.T, s clientServer, p clientPath) clientEnd {
	return runClient(t, "", tlstest.Program(t, "node"), "testdata/clients_fetch.js", s.url(p), s.caFile)
}

func fetchOpenSSL(t *testing.T, s clientServer, p clientPath) clientEnd {
	return runClient(t, s.request(p), tlstest.Program(t, "openssl"), "s_client", "-quiet", "-verify_return_error",
		"-CAfile", s.caFile, "-connect", s.addr())
}

func fetchGnuTLS(t *testing.T, s clientServer, p clientPath) clientEnd {
	return runClient(t, s.request(p), tlstest.Program(t, "gnutls-cli"), "--x509cafile", s.caFile, "--port", s.port, "127.0.0.1")
}

// fetchJava starts the virtual machine once: it is slow. The program prints a line for each path.
func fetchJava(t *testing.T, s clientServer, paths []clientPath) (ends []clientEnd) {
	program, args := javaClient(t, s)
	for _, p := range paths {
		args = append(args, p.String())
	}
	all := runClient(t, "", program, args...)
	lines := strings.Split(strings.TrimSpace(all.Says), "\n")
	if all.Code != 0 || len(lines) != len(paths) {
		t.Fatalf("java ended with %d: %s", all.Code, all.Says)
	}
	for _, line := range lines {
		ends = append(ends, clientEnd{0, line})
	}
	return ends
}

// javaClient is the command to which the paths are to be added.
func javaClient(t *testing.T, s clientServer) (program string, args []string) {
	t.Helper()
	tlstest.Program(t, "javac") // java compiles the program
	return tlstest.Program(t, "java"), []string{"-XX:TieredStopAtLevel=1", "testdata/ClientsFetch.java", s.port, s.caFile}
}

// fetchGo is net/http over crypto/tls.
func fetchGo(t *testing.T, s clientServer, p clientPath) clientEnd {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: abortCA.Pool()}, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: clientTimeout}).Get(s.url(p))
	if err != nil {
		return clientEnd{1, err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return clientEnd{1, err.Error()}
	}
	return clientEnd{0, fmt.Sprintf("complete %d", len(body))}
}
