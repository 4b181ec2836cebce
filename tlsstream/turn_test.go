package tlsstream_test

import (
	"crypto/tls"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A turnTest is a server of the stack under test and a client of crypto/tls,
// after the handshake, over a pipe that holds everything.
type turnTest struct {
	t         *testing.T
	client    *tls.Conn
	transport *membio.PipeConn // the client's
	server    secureConn
	wire      *wiretap // under the server
	clientLog keyLog
	handshake int // writes of the server's handshake
}

func newTurnTest(t *testing.T, s stack, clientConfig, serverConfig *tls.Config) *turnTest {
	t.Helper()
	a, b := membio.Pipe(wide(4 << 20))
	x := &turnTest{t: t, transport: a, wire: &wiretap{Conn: b}}
	clientConfig = clientConfig.Clone()
	clientConfig.KeyLogWriter = &x.clientLog
	x.client = tls.Client(a, clientConfig)
	x.server = s.server(x.wire, serverConfig)
	t.Cleanup(func() {
		a.Close()
		b.Close()
		x.server.Close()
	})
	if err := handshakeBoth(x.client, x.server); err != nil {
		t.Fatal(err)
	}
	x.handshake = x.wire.count()
	return x
}

// sent is what the server has sent in its application epoch. The Write of a
// record counts from the end of the handshake.
func (x *turnTest) sent() []sentRecord {
	x.t.Helper()
	records := x.wire.sent(x.t, x.clientLog.epoch(x.t, "SERVER", x.client.ConnectionState()))
	for i := range records {
		records[i].Write -= x.handshake
	}
	return records
}

// A turnRecord is a sentRecord without its content.
type turnRecord struct {
	Write int
	Kind  string
}

func (x *turnTest) wantSent(want ...turnRecord) {
	x.t.Helper()
	var got []turnRecord
	for _, r := range x.sent() {
		kind := map[byte]string{typeHandshake: "ticket", typeData: "data", typeAlert: "alert"}[r.Type]
		if r.Type == typeHandshake && len(r.Content) == len(keyUpdateRequest) {
			kind = "key update"
		}
		got = append(got, turnRecord{r.Write, kind})
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		x.t.Errorf("records sent, -want +got:\n%s", diff)
	}
}

// upload makes the server read n bytes.
func (x *turnTest) upload(n int) {
	x.t.Helper()
	want := randomBytes(1, n)
	if _, err := x.client.Write(want); err != nil {
		x.t.Fatal(err)
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(x.server, got); err != nil {
		x.t.Fatal(err)
	}
	mustEqual(x.t, "upload", got, want)
}

// turnModes are the ways in which crypto/tls sends its ticket.
var turnModes = []struct {
	name            string
	mutual, resumed bool
}{
	{name: "full"},          // with its first flight
	{"mutual", true, false}, // after the client's flight
	{"resumed", false, true},
}

func forTurnModes(t *testing.T, f func(t *testing.T, clientConfig, serverConfig *tls.Config)) {
	for _, mode := range turnModes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			clientConfig, serverConfig := ticketConfigs()
			if mode.mutual {
				mutual(clientConfig, serverConfig)
			}
			if mode.resumed {
				x := newTurnTest(t, stockStack, clientConfig, serverConfig)
				x.server.Write([]byte{1})
				x.client.Read([]byte{1})
			}
			f(t, clientConfig, serverConfig)
		})
	}
}

// After the handshake nothing reaches the transport until the application writes;
// then the ticket leaves in front of the first response, in the same write.
func TestTurn(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{streamStack, listenerStack} {
		t.Run(s.name, func(t *testing.T) {
			forTurnModes(t, func(t *testing.T, clientConfig, serverConfig *tls.Config) {
				x := newTurnTest(t, s, clientConfig, serverConfig)
				x.upload(100_000)
				x.wantSent()
				if n := x.wire.count() - x.handshake; n != 0 {
					t.Errorf("%d writes out of turn", n)
				}
				x.server.Write([]byte("response"))
				x.wantSent(turnRecord{0, "ticket"}, turnRecord{0, "data"})
				x.upload(100)
				x.server.CloseWrite()
				x.wantSent(turnRecord{0, "ticket"}, turnRecord{0, "data"},
					turnRecord{1, "alert"})
			})
		})
	}
}

// The control: crypto/tls has sent its ticket when the upload begins.
func TestTurnControl(t *testing.T) {
	t.Parallel()
	forTurnModes(t, func(t *testing.T, clientConfig, serverConfig *tls.Config) {
		x := newTurnTest(t, stockStack, clientConfig, serverConfig)
		x.upload(100_000)
		if got := x.sent(); len(got) != 1 || got[0].Type != typeHandshake {
			t.Errorf("the control is blind: crypto/tls sent %v", got)
		}
	})
}

// Close after an upload, without one response: the ticket leaves with
// close_notify, in one write.
func TestTurnOfClose(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{streamStack, listenerStack} {
		t.Run(s.name, func(t *testing.T) {
			forTurnModes(t, func(t *testing.T, clientConfig, serverConfig *tls.Config) {
				x := newTurnTest(t, s, clientConfig, serverConfig)
				x.upload(100_000)
				if err := x.server.Close(); err != nil {
					t.Fatal(err)
				}
				x.wantSent(turnRecord{0, "ticket"}, turnRecord{0, "alert"})
			})
		})
	}
}

// FlushTickets is a turn of its own, once.
func TestTurnOfFlushTickets(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{streamStack, listenerStack} {
		t.Run(s.name, func(t *testing.T) {
			forTurnModes(t, func(t *testing.T, clientConfig, serverConfig *tls.Config) {
				x := newTurnTest(t, s, clientConfig, serverConfig)
				for range 2 {
					if err := tlsstream.FlushTickets(x.server); err != nil {
						t.Fatal(err)
					}
					x.wantSent(turnRecord{0, "ticket"})
				}
				if n := x.wire.count() - x.handshake; n != 1 {
					t.Errorf("%d writes, want 1", n)
				}
				x.server.Write([]byte("response"))
				x.wantSent(turnRecord{0, "ticket"}, turnRecord{1, "data"})
			})
		})
	}
}

// An answer to KeyUpdate waits for the application's turn too.
func TestTurnOfKeyUpdate(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{streamStack, listenerStack, stockStack} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig() // no ticket
			x := newTurnTest(t, s, clientConfig, serverConfig)
			epoch := x.clientLog.epoch(t, "CLIENT", x.client.ConnectionState())
			for i := range byte(3) {
				x.transport.Write(epoch.Seal(sealKeyUpdate(t, epoch, nil), typeData, []byte{i}))
				if _, err := io.ReadFull(x.server, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if s.name == stockStack.name {
				if len(x.sent()) == 0 {
					t.Error("the control is blind: crypto/tls sent nothing")
				}
				return
			}
			x.wantSent()
			x.server.Write([]byte("response"))
			want := slices.Repeat([]turnRecord{{0, "key update"}}, answersHeld(s.name, 3))
			x.wantSent(append(want, turnRecord{0, "data"})...)
			got := make([]byte, 8)
			if _, err := io.ReadFull(x.client, got); err != nil || string(got) != "response" {
				t.Errorf("the client read %q, %v", got, err)
			}
		})
	}
}

// A fatal alert is the one thing that Read may send.
func TestTurnOfAnAlert(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := ticketConfigs()
	x := newTurnTest(t, streamStack, clientConfig, serverConfig)
	epoch := x.clientLog.epoch(t, "CLIENT", x.client.ConnectionState())
	record := epoch.Seal(nil, typeData, []byte("data"))
	record[10] ^= 1
	x.transport.Write(record)
	if _, err := x.server.Read(make([]byte, 1)); err == nil {
		t.Fatal("Read of a bad record succeeded")
	}
	x.wantSent(turnRecord{0, "ticket"}, turnRecord{0, "alert"})
	if _, err := x.client.Read(make([]byte, 1)); !isRemoteAlert(err) {
		t.Errorf("the client reads %v", err)
	}
}

// A server that writes before it reads sends its ticket and its data in order.
func TestServerThatSpeaksFirst(t *testing.T) {
	t.Parallel()
	for _, s := range []stack{streamStack, listenerStack} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			clientConfig, serverConfig := ticketConfigs()
			a, b := membio.Pipe(wide(1 << 20))
			client, server := tls.Client(a, clientConfig), s.server(b, serverConfig)
			defer server.Close()
			defer a.Close()
			want := randomBytes(5, 100_000)
			done := make(chan error, 1)
			go func() {
				_, err := server.Write(want)
				done <- err
			}()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(client, got); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "greeting", got, want)
			stats, ok := tlsstream.StatsOf(server)
			if !ok || stats.Deferral != ticketdefer.DeferralOn || stats.HeldRecords != 0 {
				t.Errorf("Stats: %+v, %t", stats, ok)
			}
		})
	}
}
