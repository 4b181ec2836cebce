package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// The end of the peer's stream is io.EOF only behind close_notify, wherever the
// stream is cut.
func TestEngineTruncationIsVisible(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	cheap(clientConfig, serverConfig)
	_, probe := newEngines(t, clientConfig, serverConfig, everything)
	data := []byte("data")
	probe.Write(data)
	dataEnd := probe.Pending()
	probe.CloseWrite()
	total := probe.Pending()

	for _, allow := range []bool{false, true} {
		options := tlsstream.Options{AllowTruncation: allow}
		for cut := range total + 1 {
			client := options.ClientEngine(clientConfig)
			server := tlsstream.NewServerEngine(serverConfig)
			joinEngines(t, client, server, everything)
			server.Write(data)
			server.CloseWrite()
			client.Feed(takeAll(server)[:cut])
			client.FeedEOF()

			got, err := readReady(client)
			wantData := ""
			if cut >= dataEnd {
				wantData = string(data)
			}
			want := tlsstream.ErrTruncated
			if cut == total || allow && (cut == 0 || cut == dataEnd) {
				want = io.EOF
			}
			if string(got) != wantData || err != want {
				t.Fatalf("allow=%t cut=%d: read %q, %v; want %q, %v", allow, cut, got, err, wantData, want)
			}
			if _, again := client.Read(make([]byte, 1)); again != err {
				t.Fatalf("allow=%t cut=%d: Read again: %v, not %v", allow, cut, again, err)
			}
			if _, err := client.Write(data); err != nil {
				t.Fatalf("allow=%t cut=%d: Write after the peer's end: %v", allow, cut, err)
			}
			client.Close()
			server.Close()
		}
	}
	if !errors.Is(tlsstream.ErrTruncated, io.ErrUnexpectedEOF) {
		t.Error("ErrTruncated is not an io.ErrUnexpectedEOF")
	}
}

// The control: for crypto/tls an end between two records is the end of the data.
func TestEngineTruncationIsVisibleControl(t *testing.T) {
	t.Parallel()
	peer, server, transport := newRequestingStock(t)
	peer.Write([]byte("data"))
	transport.in <- takeAll(peer.Engine)
	close(transport.in)
	if got, err := io.ReadAll(server); string(got) != "data" || err != nil {
		t.Errorf("the control is blind: crypto/tls read %q, %v", got, err)
	}
}

// FeedEOF during the handshake ends it with an error that says so.
func TestEngineHandshakeEndsWithThePeersStream(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	for _, after := range []int{0, 1, 100} {
		client := tlsstream.NewClientEngine(clientConfig)
		client.Handshake()
		server := tlsstream.NewServerEngine(serverConfig)
		server.Feed(takeAll(client)[:after])
		if err := server.Handshake(); err != tlsstream.ErrWantRead {
			t.Fatalf("Handshake on %d bytes: %v", after, err)
		}
		server.FeedEOF()
		err := server.Handshake()
		var failed *tlsstream.HandshakeError
		if !errors.As(err, &failed) || failed.Client || failed.Received != int64(after) ||
			!errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", after, err)
		}
		client.Close()
		server.Close()
	}
}

// Which errors are final, and which are not.
func TestEngineErrorsAreFinalOrRetryable(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	fresh := func() (client, server *tlsstream.Engine) {
		return newEngines(t, clientConfig, serverConfig, everything)
	}
	one := make([]byte, 1)

	t.Run("early CloseWrite is retryable", func(t *testing.T) {
		client, server := tlsstream.NewClientEngine(clientConfig), tlsstream.NewServerEngine(serverConfig)
		defer client.Close()
		defer server.Close()
		for _, e := range []*tlsstream.Engine{client, server} {
			if err := e.CloseWrite(); err == nil {
				t.Error("CloseWrite before the handshake succeeded")
			}
			if err := e.FlushTickets(); err != nil {
				t.Errorf("FlushTickets before the handshake: %v", err)
			}
		}
		joinEngines(t, client, server, everything)
		if err := client.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a bad record is final and due an alert", func(t *testing.T) {
		client, server := fresh()
		client.Write([]byte("data"))
		record := takeAll(client)
		record[len(record)-1] ^= 1
		server.Feed(record)
		_, first := server.Read(one)
		_, second := server.Read(one)
		if first == nil || first == tlsstream.ErrWantRead || first != second {
			t.Fatalf("Read: %v, then %v", first, second)
		}
		if _, err := server.Write(one); err == nil {
			t.Error("Write after a fatal alert succeeded")
		}
		client.Feed(takeAll(server))
		if _, err := client.Read(one); !isRemoteAlert(err) {
			t.Errorf("the peer reads %v", err)
		}
	})
	t.Run("a failed handshake is final and due an alert", func(t *testing.T) {
		config := clientConfig.Clone()
		config.ServerName = "other.example"
		client, server := tlsstream.NewClientEngine(config), tlsstream.NewServerEngine(serverConfig)
		defer client.Close()
		defer server.Close()
		client.Handshake()
		server.Feed(takeAll(client))
		server.Handshake()
		client.Feed(takeAll(server))
		first := client.Handshake()
		var invalid *tls.CertificateVerificationError
		var failed *tlsstream.HandshakeError
		if !errors.As(first, &failed) || !failed.Client || !errors.As(first, &invalid) {
			t.Fatalf("Handshake: %v", first)
		}
		if second := client.Handshake(); second != first {
			t.Errorf("Handshake again: %v", second)
		}
		if _, err := client.Read(one); err != first {
			t.Errorf("Read: %v", err)
		}
		server.Feed(takeAll(client))
		if err := server.Handshake(); !isRemoteAlert(err) {
			t.Errorf("the server's error: %v", err)
		}
	})
	t.Run("after Close everything is net.ErrClosed", func(t *testing.T) {
		client, _ := fresh()
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		suspended := tlsstream.NewClientEngine(clientConfig)
		suspended.Handshake()
		if err := suspended.Close(); err != nil {
			t.Fatal(err)
		}
		for name, e := range map[string]*tlsstream.Engine{"complete": client, "suspended": suspended} {
			_, readErr := e.Read(one)
			_, writeErr := e.Write(one)
			_, feedErr := e.Feed(one)
			for i, err := range []error{readErr, writeErr, feedErr, e.Close()} {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: error %d is %v", name, i, err)
				}
			}
		}
	})
}

func isRemoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// Close makes what is held due, with close_notify.
func TestEngineCloseReleasesTheTicket(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	client, server := newEngines(t, clientConfig, serverConfig, everything)
	before := server.Stats()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	after := server.Stats()
	released := after.ReleasedRecords - before.ReleasedRecords
	if before.HeldRecords != 1 || after.HeldRecords != 0 || released != 1 {
		t.Errorf("want one held and released record; before: %+v, after: %+v", before, after)
	}
	carry(t, server, client, everything, nil)
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	client, _ = newEngines(t, clientConfig, serverConfig, everything)
	if !client.ConnectionState().DidResume {
		t.Error("the ticket that came with close_notify does not resume")
	}
}
