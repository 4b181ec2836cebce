package cert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

var quiet = slog.New(slog.DiscardHandler)

// shake makes a handshake with a server that uses source, and returns the
// certificate that the client saw and accepted.
func shake(t *testing.T, source *Source, trusted *x509.CertPool, name string) (*x509.Certificate, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			tls.Server(conn, &tls.Config{GetCertificate: source.GetCertificate}).Handshake()
			conn.Close()
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := tls.Client(conn, &tls.Config{RootCAs: trusted, ServerName: name})
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func TestSelfSignedIsTrustedByItsPEM(t *testing.T) {
	var flags Flags
	source, err := flags.Open(quiet, "files.example", "192.0.2.7", "0.0.0.0", "")
	if err != nil || !source.SelfSigned {
		t.Fatal(source, err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(source.PEM())
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "files.example", "192.0.2.7"} {
		if _, err := shake(t, source, trusted, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"other.example", "0.0.0.0"} {
		if _, err := shake(t, source, trusted, name); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	again, err := SelfSigned()
	if err != nil || again.Fingerprint() == source.Fingerprint() || again.Pin() == source.Pin() {
		t.Errorf("two runs have the same certificate or key, or %v", err)
	}
}

// What the program prints must be what other programs print and take.
func TestFingerprintIsAsOpenSSLPrintsIt(t *testing.T) {
	openssl := tlstest.Program(t, "openssl")
	source, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(openssl, "x509", "-noout", "-fingerprint", "-sha256")
	cmd.Stdin = bytes.NewReader(source.PEM())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, got, _ := strings.Cut(strings.TrimSpace(string(out)), "="); got != source.Fingerprint() {
		t.Errorf("openssl: %s; we: %s", got, source.Fingerprint())
	}
}

// writePair writes a pair of the CA's into dir, over the one that is there.
func writePair(t *testing.T, ca *tlstest.CA, dir string) (certFile, keyFile string) {
	t.Helper()
	_, certFile, keyFile, err := ca.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

// age makes files look as if written at a time that is long enough ago to be
// told from any later one.
func age(t *testing.T, when time.Time, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Chtimes(name, when, when); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	ca, dir := tlstest.NewCA(), t.TempDir()
	certFile, keyFile := writePair(t, ca, dir)
	age(t, time.Now().Add(-time.Hour), certFile, keyFile)
	var log bytes.Buffer
	source, err := Load(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || source.SelfSigned {
		t.Fatal(source, err)
	}
	seen := func() *x509.Certificate {
		t.Helper()
		leaf, err := shake(t, source, ca.Pool(), "localhost")
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	first := seen()
	if !seen().Equal(first) || log.Len() > 0 {
		t.Fatalf("changed by itself: %s", &log)
	}

	writePair(t, ca, dir)
	second := seen()
	if second.Equal(first) || !strings.Contains(log.String(), "certificate reloaded") {
		t.Fatalf("the new files are not in use: %s", &log)
	}
	// As written twice in one tick of the file system's clock, with the same length.
	info, err := os.Stat(certFile)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, ca, dir)
	age(t, info.ModTime(), certFile, keyFile)
	third := seen()
	if third.Equal(second) {
		t.Error("a second change in the same moment was missed")
	}

	// A renewal in progress: the key of the new certificate is still missing,
	// then still the old one.
	log.Reset()
	oldKey, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	stays := func(why string) {
		t.Helper()
		for range 2 { // the second must not be reported again
			if !seen().Equal(third) {
				t.Error("the old pair is not in use while " + why)
			}
		}
	}
	stays("the key is missing")
	if n := strings.Count(log.String(), "not reloaded"); n != 1 {
		t.Errorf("reported %d times: %s", n, &log)
	}
	writePair(t, ca, dir)
	newKey, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(keyFile, oldKey, 0o600)
	age(t, time.Now().Add(-time.Minute), certFile, keyFile)
	stays("key and certificate differ")
	if n := strings.Count(log.String(), "not reloaded"); n != 2 {
		t.Errorf("reported %d times: %s", n, &log)
	}
	os.WriteFile(keyFile, newKey, 0o600)
	if seen().Equal(third) {
		t.Errorf("the new pair is not in use: %s", &log)
	}
}

func TestFlagsNameWhatIsWrong(t *testing.T) {
	ca, dir := tlstest.NewCA(), t.TempDir()
	certFile, keyFile := writePair(t, ca, dir)
	other := filepath.Join(t.TempDir(), "other.pem")
	_, strange, err := tlstest.WriteCertificate(filepath.Dir(other), "strange", ca.Server())
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(dir, "both.pem")
	certPEM, _ := os.ReadFile(certFile)
	keyPEM, _ := os.ReadFile(keyFile)
	if err := os.WriteFile(both, append(certPEM, keyPEM...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--key", keyFile}, "--key without --cert"},
		{[]string{"--cert", other, "--key", keyFile}, "cannot read the certificate"},
		{[]string{"--cert", certFile, "--key", other}, "cannot read the key"},
		{[]string{"--cert", certFile, "--key", strange}, "are not a certificate and its key"},
		{[]string{"--cert", certFile}, "are not a certificate and its key"},
		{[]string{"--cert", both}, ""},
	} {
		var flags Flags
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		set.SetOutput(io.Discard)
		flags.Register(set)
		if err := set.Parse(test.args); err != nil {
			t.Fatal(err)
		}
		_, err := flags.Open(quiet)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: %v", test.args, err)
		}
	}
}
