package tlstest_test

import (
	"crypto/tls"
	"io"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// connect joins two configs over loopback TCP, has the server send one byte, and returns both ends' states.
func connect(t *testing.T, server, client *tls.Config) (s, c tls.ConnectionState) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	states := make(chan tls.ConnectionState, 1)
	go func() {
		defer close(states)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{1}); err == nil {
			states <- conn.(*tls.Conn).ConnectionState()
		}
		io.Copy(io.Discard, conn)
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c = conn.ConnectionState()
	conn.Close()
	s, ok := <-states
	if !ok {
		t.Fatal("the server's handshake failed")
	}
	return s, c
}

func TestPeersVerifyEachOther(t *testing.T) {
	ca := tlstest.NewCA()
	server := ca.ServerConfig()
	server.ClientAuth = tls.RequireAndVerifyClientCert
	server.ClientCAs = ca.Pool()
	client := ca.ClientConfig()
	client.Certificates = []tls.Certificate{ca.Client("alice")}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		client.ServerName = name
		s, c := connect(t, server, client)
		got := []string{s.PeerCertificates[0].Subject.CommonName, c.PeerCertificates[0].Subject.CommonName}
		if diff := cmp.Diff([]string{"alice", "localhost"}, got); diff != "" {
			t.Errorf("names, -want +got:\n%s", diff)
		}
	}
	if err := ca.Server("a.example", "192.0.2.1").Leaf.VerifyHostname("192.0.2.1"); err != nil {
		t.Error(err)
	}
}

// A ticket carries the client's certificates, and crypto/tls sends it in full when the client comes back.
func TestBigClientMakesBigTickets(t *testing.T) {
	const size = 60 << 10
	ca := tlstest.NewCA()
	cert := ca.BigClient("alice", size)
	if got := len(cert.Certificate[0]); got < size-64 || got > size+64 {
		t.Fatalf("certificate is %d bytes long, want about %d", got, size)
	}
	for _, auth := range []tls.ClientAuthType{tls.RequestClientCert, tls.RequireAndVerifyClientCert} {
		server := ca.ServerConfig()
		server.ClientAuth = auth
		server.ClientCAs = ca.Pool()
		client := ca.ClientConfig()
		client.Certificates = []tls.Certificate{cert}
		cache := tls.NewLRUClientSessionCache(1)
		client.ClientSessionCache = cache
		connect(t, server, client)
		session, ok := cache.Get("localhost")
		if !ok {
			t.Fatalf("%v: no ticket", auth)
		}
		ticket, _, err := session.ResumptionState()
		if err != nil {
			t.Fatal(err)
		}
		if len(ticket) < size || len(ticket) > size+2048 {
			t.Errorf("%v: ticket is %d bytes long, want a little over %d", auth, len(ticket), size)
		}
		if _, c := connect(t, server, client); !c.DidResume {
			t.Errorf("%v: the ticket did not resume", auth)
		}
	}
}

func TestFilesLoad(t *testing.T) {
	dir := t.TempDir()
	ca := tlstest.NewCA()
	caFile, certFile, keyFile, err := ca.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(filepath.Join(dir, "ca.pem"), caFile); diff != "" {
		t.Error(diff)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, &tls.Config{Certificates: []tls.Certificate{pair}}, ca.ClientConfig())
	if _, _, err := tlstest.WriteCertificate(filepath.Join(dir, "missing"), "x", ca.Client("x")); err == nil {
		t.Error("writing into a folder that does not exist succeeded")
	}
}
