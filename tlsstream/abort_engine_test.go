package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// abortEngines makes two engines, after their handshake.
func abortEngines(t *testing.T, o tlsstream.Options, clientConfig, serverConfig *tls.Config) (client, server *tlsstream.Engine) {
	t.Helper()
	client, server = o.ClientEngine(clientConfig), o.ServerEngine(serverConfig)
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	for {
		c, s := client.Handshake(), server.Handshake()
		if c == nil && s == nil {
			abortCarry(t, client, server, -1)
			abortCarry(t, server, client, -1)
			return client, server
		}
		if c != nil && c != tlsstream.ErrWantRead || s != nil && s != tlsstream.ErrWantRead {
			t.Fatal(c, s)
		}
		abortCarry(t, client, server, -1)
		abortCarry(t, server, client, -1)
	}
}

// The peer of an engine gets what was written and is not yet taken, and then the alert; and nothing comes behind it,
// whatever is called.
func TestEngineAbort(t *testing.T) {
	abortNoLeak(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			clientConfig, serverConfig := abortConfigs()
			clientConfig.MaxVersion = version
			them, us := abortEngines(t, tlsstream.Options{}, clientConfig, serverConfig)
			if _, err := us.Write(make([]byte, 5000)); err != nil {
				t.Fatal(err)
			}
			if _, err := them.Write([]byte("unread")); err != nil {
				t.Fatal(err)
			}
			abortCarry(t, them, us, -1)
			if err := us.Abort(tlsstream.AlertInternalError); err != nil {
				t.Error(err)
			}
			want := tlsstream.AlertInternalError
			if version == tls.VersionTLS12 {
				want = tlsstream.AlertBadRecordMAC
			}
			due := us.Pending()
			if n, err := us.Write([]byte("late")); n != 0 || err == nil {
				t.Errorf("Write after Abort: %d, %v", n, err)
			}
			if err := us.FlushTickets(); err != nil {
				t.Errorf("FlushTickets: %v", err)
			}
			us.CloseWrite()
			for range 3 {
				us.Read(make([]byte, 100))
			}
			if err := us.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Close: %v", err)
			}
			if err := us.Abort(tlsstream.AlertAccessDenied); !errors.Is(err, net.ErrClosed) {
				t.Errorf("second Abort: %v", err)
			}
			if late := us.Pending() - due; late != 0 {
				t.Errorf("%d bytes came behind the alert", late)
			}
			if _, err := us.Feed([]byte("more")); err == nil {
				t.Error("Feed succeeded")
			}
			abortCarry(t, us, them, -1)
			if n, err := us.Take(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("Take at the end: %d, %v", n, err)
			}
			got, err := readEngine(them)
			if len(got) != 5000 {
				t.Errorf("the peer received %d bytes, want 5000", len(got))
			}
			var alert *tlsstream.AlertError
			if !errors.As(err, &alert) {
				t.Fatalf("the peer's error is %v", err)
			}
			if diff := cmp.Diff([]any{want, true, ""}, []any{alert.Alert, alert.Remote, alert.Reason}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The control: an engine that is closed says that all is well.
func TestEngineCloseIsNoAbortControl(t *testing.T) {
	clientConfig, serverConfig := abortConfigs()
	them, us := abortEngines(t, tlsstream.Options{}, clientConfig, serverConfig)
	if _, err := us.Write(make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	us.Close()
	abortCarry(t, us, them, -1)
	if got, err := readEngine(them); len(got) != 5000 || err != io.EOF {
		t.Errorf("the peer received %d bytes and %v", len(got), err)
	}
}

// A KeyUpdate that crypto/tls finds in what it has read ahead is not answered behind the alert.
func TestEngineAnswersNothingAfterAbort(t *testing.T) {
	clientConfig, serverConfig := abortConfigs()
	serverConfig.SessionTicketsDisabled = true
	log := &keyLog{}
	clientConfig.KeyLogWriter = log
	them, us := abortEngines(t, tlsstream.Options{}, clientConfig, serverConfig)
	epoch := log.epoch(t, "CLIENT", them.ConnectionState())
	record := epoch.Seal(nil, 23, []byte("ab"))
	record = epoch.Seal(record, 22, []byte{24, 0, 0, 1, 1})
	if _, err := us.Feed(record); err != nil {
		t.Fatal(err)
	}
	if _, err := us.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := us.Abort(tlsstream.AlertInternalError); err != nil {
		t.Error(err)
	}
	due := us.Pending()
	for {
		if _, err := us.Read(make([]byte, 1)); err != nil {
			break
		}
	}
	if late := us.Pending() - due; late != 0 {
		t.Errorf("%d bytes came behind the alert", late)
	}
	abortCarry(t, us, them, -1)
	var alert *tlsstream.AlertError
	if _, err := readEngine(them); !errors.As(err, &alert) || alert.Alert != tlsstream.AlertInternalError {
		t.Errorf("the peer's error is %v", err)
	}
}

// readEngine reads what an engine has, up to an error or to where it needs more.
func readEngine(e *tlsstream.Engine) (got []byte, err error) {
	buf := make([]byte, 4096)
	for {
		n, err := e.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			return got, err
		}
	}
}
