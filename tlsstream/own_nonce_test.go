package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A wireAudit opens everything that one side has sent, in order. A record of the application
// epoch must open under exactly the next key and sequence number; both only grow, so
// that none is used twice, and a record of crypto/tls's that should not be there does not open.
type wireAudit struct {
	epoch    *ticketdefer.Epoch
	records  map[byte]int // by content type
	messages map[byte]int // KeyUpdates and tickets
	data     []byte
}

func auditWire(t testing.TB, epoch *ticketdefer.Epoch, stream []byte) *wireAudit {
	t.Helper()
	a := &wireAudit{epoch: epoch, records: map[byte]int{}, messages: map[byte]int{}}
	for len(stream) > 0 {
		n := 5 + int(stream[3])<<8 + int(stream[4])
		if len(stream) < n {
			t.Fatalf("the stream ends in a record")
		}
		kind, content, err := epoch.Open(nil, stream[:n])
		stream = stream[n:]
		switch {
		case err != nil && len(a.records) == 0:
			continue // of the handshake
		case err != nil:
			t.Fatalf("behind %v a record of %d bytes is not sealed under the next nonce", a.records, n)
		}
		a.records[kind]++
		switch kind {
		case typeData:
			a.data = append(a.data, content...)
		case typeHandshake:
			a.messages[content[0]]++
			if content[0] == 24 {
				if err := epoch.Update(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return a
}

// Whatever is done after the takeover, no nonce is on the wire twice, in either direction.
func TestOwnRecordsUseNoNonceTwice(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			var clientLog, serverLog keyLog
			clientConfig, serverConfig := ticketConfigs()
			clientConfig.KeyLogWriter, serverConfig.KeyLogWriter = &clientLog, &serverLog
			if seed%2 == 1 {
				mutual(clientConfig, serverConfig)
			}
			o := &tlsstream.Options{OwnRecords: true}
			o.SetUpdateAfter(uint64(1 + rng.IntN(4)))
			client, server := o.ClientEngine(clientConfig), o.ServerEngine(serverConfig)
			wires := map[*tlsstream.Engine][]byte{}
			var sent, got [2][]byte
			engines := []*tlsstream.Engine{client, server}
			other := map[*tlsstream.Engine]*tlsstream.Engine{client: server, server: client}
			pass := func(from *tlsstream.Engine) {
				p := takeAll(from)
				wires[from] = append(wires[from], p...)
				for len(p) > 0 {
					n, _ := other[from].Feed(p)
					p = p[n:]
					q, err := readReady(other[from])
					if err != tlsstream.ErrWantRead && err != io.EOF {
						t.Fatal(err)
					}
					if from == client {
						got[0] = append(got[0], q...)
					} else {
						got[1] = append(got[1], q...)
					}
				}
			}
			for range 4 {
				client.Handshake()
				pass(client)
				server.Handshake()
				pass(server)
			}
			if s := server.Stats(); s.OwnRecords != tlsstream.OwnRecordsOn || s.HeldRecords != 1 {
				t.Fatalf("Stats: %+v", s)
			}
			for range 60 {
				i := rng.IntN(2)
				e := engines[i]
				switch rng.IntN(5) {
				case 0, 1, 2:
					p := randomBytes(seed, rng.IntN(1<<rng.IntN(16)))
					n, err := e.Write(p)
					if err != nil && err != tlsstream.ErrWantWrite {
						t.Fatal(err)
					}
					sent[i] = append(sent[i], p[:n]...)
				case 3:
					if err := e.FlushTickets(); err != nil {
						t.Fatal(err)
					}
				case 4:
					pass(e)
				}
			}
			for _, e := range engines {
				if seed%3 == 0 {
					e.CloseWrite()
				}
			}
			pass(client)
			pass(server)
			if seed%5 == 0 {
				server.Abort(tlsstream.AlertInternalError)
			}
			client.Close()
			server.Close()
			wires[client] = append(wires[client], takeAll(client)...)
			wires[server] = append(wires[server], takeAll(server)...)
			state := client.ConnectionState()
			a := auditWire(t, clientLog.epoch(t, "CLIENT", state), wires[client])
			b := auditWire(t, serverLog.epoch(t, "SERVER", state), wires[server])
			mustEqual(t, "what the client sent", a.data, sent[0])
			mustEqual(t, "what the server received", got[0], sent[0])
			mustEqual(t, "what the server sent", b.data, sent[1])
			mustEqual(t, "what the client received", got[1], sent[1])
			if b.messages[4] != 1 || a.messages[24]+b.messages[24] == 0 {
				t.Errorf("messages: client %v, server %v", a.messages, b.messages)
			}
		})
	}
}

// A *tls.Conn that somebody has kept from before the takeover can do what it likes: not one byte of
// it reaches the wire, nothing is taken from the stream, and the stream goes on.
func TestCryptoTLSIsCutOffAfterTheTakeOver(t *testing.T) {
	t.Parallel()
	for _, cache := range []bool{false, true} {
		t.Run(fmt.Sprintf("cache=%v", cache), func(t *testing.T) {
			t.Parallel()
			var clientLog, serverLog keyLog
			clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
			tickets := &countingCache{}
			if cache {
				clientConfig.ClientSessionCache = tickets
			}
			clientConfig.KeyLogWriter, serverConfig.KeyLogWriter = &clientLog, &serverLog
			o := &tlsstream.Options{OwnRecords: true}
			a, b := membio.Pipe(wide(1 << 20))
			clientWire, serverWire := &wiretap{Conn: a}, &wiretap{Conn: b}
			client, server := o.Client(clientWire, clientConfig), o.Server(serverWire, serverConfig)
			kept := []*tls.Conn{client.TLS(), server.TLS()}
			if err := handshakeBoth(client, server); err != nil {
				t.Fatal(err)
			}
			if server.TLS() != nil || (client.TLS() != nil) != cache {
				t.Errorf("the server keeps %v, the client %v", server.TLS(), client.TLS())
			}
			before := clientWire.count() + serverWire.count()

			var calls sync.WaitGroup
			misuse := func(f func(c *tls.Conn)) {
				for _, c := range kept {
					calls.Go(func() { f(c) })
				}
			}
			misuse(func(c *tls.Conn) { c.Write([]byte("a nonce used twice")) })
			misuse(func(c *tls.Conn) { c.Read(make([]byte, 100)) })
			misuse(func(c *tls.Conn) { c.Handshake() })
			misuse(func(c *tls.Conn) { c.ConnectionState() })
			misuse(func(c *tls.Conn) { c.SetDeadline(time.Now()) })
			misuse(func(c *tls.Conn) { c.NetConn().Write([]byte("in the clear")) })
			calls.Wait()
			misuse(func(c *tls.Conn) { c.CloseWrite() })
			calls.Wait()
			misuse(func(c *tls.Conn) { c.Close() })
			calls.Wait()
			misuse(func(c *tls.Conn) { c.NetConn().Close() })
			calls.Wait()
			if n := clientWire.count() + serverWire.count() - before; n != 0 {
				t.Fatalf("%d writes reached the wire", n)
			}

			for range 3 {
				echo(t, client, server)
			}
			if want := map[bool]int{true: 1}[cache]; tickets.puts != want {
				t.Errorf("%d tickets reached the cache, want %d", tickets.puts, want)
			}
			if err := client.CloseWrite(); err != nil {
				t.Error(err)
			}
			if _, err := server.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the server read %v, want io.EOF", err)
			}
			server.Close()
			client.Close()
			state := client.ConnectionState()
			auditWire(t, clientLog.epoch(t, "CLIENT", state), bytes.Join(clientWire.writes, nil))
			auditWire(t, serverLog.epoch(t, "SERVER", state), bytes.Join(serverWire.writes, nil))
		})
	}
}

// The control of the audit: it notices a record that crypto/tls has sealed in the place of
// one of ours.
func TestAuditSeesANonceUsedTwice(t *testing.T) {
	t.Parallel()
	var log keyLog
	clientConfig, serverConfig := ticketConfigs()
	clientConfig.KeyLogWriter = &log
	client, server := ownEngines(t, clientConfig, serverConfig)
	defer server.Close()
	defer client.Close()
	e := log.epoch(t, "CLIENT", client.ConnectionState())
	if _, err := client.Write([]byte("ours")); err != nil {
		t.Fatal(err)
	}
	stream := append(takeAll(client), e.Clone().Seal(nil, typeData, []byte("theirs"))...)
	failed := &failing{TB: t}
	func() {
		defer func() { recover() }()
		auditWire(failed, e, stream)
	}()
	if !failed.failed {
		t.Error("the audit is blind")
	}
}

// A failing is a testing.TB whose Fatalf is expected.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper() {}
func (f *failing) Fatalf(string, ...any) {
	f.failed = true
	panic("failed")
}
