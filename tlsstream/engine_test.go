package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A whole life without any net.Conn, whatever pieces the bytes come in: both
// handshakes, data both ways, a ticket, resumption, and close in both directions.
func TestEnginesNeedNoConnection(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, mutualAuth := range []bool{false, true} {
			for _, chunk := range []int{1, 7, 1000, everything} {
				name := fmt.Sprintf("%s/mutual=%t/chunk=%d", tls.VersionName(version), mutualAuth, chunk)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					clientConfig, serverConfig := ticketConfigs()
					serverConfig.MaxVersion = version
					if mutualAuth {
						mutual(clientConfig, serverConfig)
					}
					for _, resumed := range []bool{false, true} {
						client, server := newEngines(t, clientConfig, serverConfig, chunk)
						engineLife(t, client, server, chunk)
						got := []bool{client.ConnectionState().DidResume, server.ConnectionState().DidResume}
						if diff := cmp.Diff([]bool{resumed, resumed}, got); diff != "" {
							t.Errorf("DidResume of client and server, -want +got:\n%s", diff)
						}
						if mutualAuth {
							peer := server.ConnectionState().PeerCertificates[0].Subject.CommonName
							if diff := cmp.Diff("alice", peer); diff != "" {
								t.Errorf("the client's name, -want +got:\n%s", diff)
							}
						}
					}
				})
			}
		}
	}
}

// engineLife uses two engines from the end of the handshake to their close.
func engineLife(t *testing.T, client, server *tlsstream.Engine, chunk int) {
	t.Helper()
	request, response := randomBytes(1, 3000), randomBytes(2, 20_000)
	mustEqual(t, "request", send(t, client, server, request, chunk), request)
	if server.Pending() != 0 {
		t.Fatalf("%d bytes are due from a server that has written nothing", server.Pending())
	}
	if on := ticketdefer.DeferralOn; server.ConnectionState().Version == tls.VersionTLS13 {
		if got := server.Stats(); got.Deferral != on || got.HeldRecords != 1 {
			t.Fatalf("want a held ticket; server's Stats: %+v", got)
		}
	}
	mustEqual(t, "response", send(t, server, client, response, chunk), response)

	for _, side := range []struct{ from, to *tlsstream.Engine }{{client, server}, {server, client}} {
		if err := side.from.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var end error
		carry(t, side.from, side.to, chunk, func() { _, end = side.to.Read(make([]byte, 1)) })
		if end != io.EOF {
			t.Fatalf("Read after close_notify: %v", end)
		}
		if _, err := side.from.Write([]byte{1}); err == nil {
			t.Error("Write after CloseWrite succeeded")
		}
	}
	for _, e := range []*tlsstream.Engine{client, server} {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if n, err := e.Take(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("Take after Close: %d, %v", n, err)
		}
	}
}

// A ticket of 64 KB spans five records, and the engine asks for more between all
// of their bytes; the client then resumes with it.
func TestEngineTakesABigTicketByteByByte(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	mutual(clientConfig, serverConfig)
	clientConfig.Certificates = []tls.Certificate{testCA.BigClient("alice", 60<<10)}

	client, server := newEngines(t, clientConfig, serverConfig, everything)
	if s := server.Stats(); s.HeldRecords != 4 || s.HeldBytes < 60<<10 {
		t.Fatalf("want a ticket over four records; Stats: %+v", s)
	}
	if err := server.FlushTickets(); err != nil {
		t.Fatal(err)
	}
	flushed := takeAll(server)
	for i := range flushed {
		if _, err := client.Feed(flushed[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(make([]byte, 1)); n != 0 || err != tlsstream.ErrWantRead {
			t.Fatalf("Read after byte %d of the ticket: %d, %v", i, n, err)
		}
	}
	want := []byte("behind the ticket")
	mustEqual(t, "data", send(t, server, client, want, 1), want)

	client, server = newEngines(t, clientConfig, serverConfig, 100) // the ClientHello is as big
	if !client.ConnectionState().DidResume || !server.ConnectionState().DidResume {
		t.Error("the ticket did not resume")
	}
}

// Read asks for more wherever a record is cut, and the cut leaves no trace.
func TestErrWantReadAtEveryByte(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			clientConfig, serverConfig := ticketConfigs()
			serverConfig.MaxVersion = version
			client, server := newEngines(t, clientConfig, serverConfig, everything)
			want := randomBytes(3, 60)
			for cut := 0; ; cut++ {
				if _, err := server.Write(want); err != nil {
					t.Fatal(err)
				}
				record := takeAll(server)
				if cut == len(record) {
					break
				}
				client.Feed(record[:cut])
				for range 2 {
					if n, err := client.Read(make([]byte, 100)); n != 0 || err != tlsstream.ErrWantRead {
						t.Fatalf("cut at %d: Read of a part: %d, %v", cut, n, err)
					}
				}
				client.Feed(record[cut:])
				got, _ := readReady(client)
				mustEqual(t, fmt.Sprintf("cut at %d", cut), got, want)
			}
		})
	}
}

// Read looks for a close_notify behind the data: if it finds the beginning of one
// the data must come without an error.
func TestDataBeforeAHalfAlertIsReturned(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	serverConfig.MaxVersion = tls.VersionTLS12 // where the header tells an alert
	client, server := newEngines(t, clientConfig, serverConfig, everything)
	server.Write([]byte("hello"))
	data := takeAll(server)
	server.CloseWrite()
	alert := takeAll(server)
	client.Feed(append(data, alert[:6]...))
	p := make([]byte, 100)
	if n, err := client.Read(p); err != nil || !bytes.Equal(p[:n], []byte("hello")) {
		t.Fatalf("Read: %q, %v", p[:n], err)
	}
	client.Feed(alert[6:])
	if n, err := client.Read(p); n != 0 || err != io.EOF {
		t.Fatalf("Read after close_notify: %d, %v", n, err)
	}
}
