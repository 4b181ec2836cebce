package tlsstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A certificate may name any ASCII, and crypto/tls repeats the names before it has checked who signed them.
func TestHandshakeErrorEscapesNamesOfACertificate(t *testing.T) {
	client, server := ticketConfigs()
	server.Certificates = []tls.Certificate{testCA.Server("\x1b]0;owned\x07.test", "x\nlevel=info msg=\"all is well\"")}
	c, s := tlstest.TCPPair(t)
	done := make(chan error, 1)
	go func() { done <- tls.Server(s, server).Handshake() }()
	conn := tlsstream.Client(c, client)
	defer conn.Close()
	err := conn.Handshake()
	<-done
	var name x509.HostnameError
	if !errors.As(err, &name) {
		t.Fatalf("%v is no HostnameError", err)
	}
	if !strings.Contains(name.Error(), "\x1b") {
		t.Fatal("crypto/tls escapes names itself: this test proves nothing")
	}
	var alert *tlsstream.AlertError
	if !errors.As(err, &alert) {
		t.Fatalf("%v has no alert", err)
	}
	for _, text := range []string{err.Error(), alert.Error()} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("the text has control characters: %q", text)
		}
		if !strings.Contains(text, `\x1b]0;owned\a.test`) {
			t.Errorf("the text does not show the name: %s", text)
		}
	}
}
