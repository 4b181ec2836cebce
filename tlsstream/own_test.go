package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// Stats say whether the records are ours, and if not, why not; the stream works either way.
func TestOwnRecordsFallBackAndSaySo(t *testing.T) {
	t.Parallel()
	on := &tlsstream.Options{OwnRecords: true}
	for name, c := range map[string]struct {
		options *tlsstream.Options
		version uint16
		want    tlsstream.OwnRecords
	}{
		"TLS 1.3":   {on, tls.VersionTLS13, tlsstream.OwnRecordsOn},
		"TLS 1.2":   {on, tls.VersionTLS12, tlsstream.OwnRecordsTLS12},
		"not asked": {&tlsstream.Options{}, tls.VersionTLS13, tlsstream.OwnRecordsOff},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == tlsstream.OwnRecordsOff && *own {
				t.Skip("-own asks for it")
			}
			clientConfig, serverConfig := ticketConfigs()
			clientConfig.MaxVersion = c.version
			client, server := c.options.ClientEngine(clientConfig), c.options.ServerEngine(serverConfig)
			defer server.Close()
			defer client.Close()
			if got := client.Stats().OwnRecords; got != tlsstream.OwnRecordsWaiting && c.want != tlsstream.OwnRecordsOff {
				t.Errorf("before the handshake: %v", got)
			}
			joinEngines(t, client, server, everything)
			for _, e := range []*tlsstream.Engine{client, server} {
				if got := e.Stats().OwnRecords; got != c.want {
					t.Errorf("Stats: %v, want %v", got, c.want)
				}
				if e.ConnectionState().Version != c.version {
					t.Errorf("ConnectionState: %+v", e.ConnectionState())
				}
			}
			p := randomBytes(1, 300_000)
			mustEqual(t, "upload", send(t, client, server, p, everything), p)
			mustEqual(t, "download", send(t, server, client, p, 1000), p)
		})
	}
}

// In FIPS 140-3 mode GCM with nonces of our own is not the approved one: crypto/tls goes on.
func TestOwnRecordsFallBackInFIPSMode(t *testing.T) {
	t.Parallel()
	const inChild = "TLSSTREAM_OWN_FIPS"
	if os.Getenv(inChild) != "" {
		o := &tlsstream.Options{OwnRecords: true}
		client, server := o.ClientEngine(testCA.ClientConfig()), o.ServerEngine(testCA.ServerConfig())
		defer server.Close()
		defer client.Close()
		joinEngines(t, client, server, everything)
		if s := client.Stats(); s.OwnRecords != tlsstream.OwnRecordsFIPS {
			t.Errorf("Stats: %v", s.OwnRecords)
		}
		p := randomBytes(1, 100_000)
		mustEqual(t, "upload", send(t, client, server, p, everything), p)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inChild+"=1", "GODEBUG=fips140=on")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
}

// Tickets reach a client's session cache, however they are cut and whatever comes between
// them: 200 with data and KeyUpdates in between, of which crypto/tls sees each.
func TestOwnRecordsHandTicketsToTheCache(t *testing.T) {
	t.Parallel()
	const tickets = 200
	v := ownVictim(t, ownCase{client: true, cache: true})
	defer v.close()
	var data []byte
	b := make([]byte, 100)
	for i := range tickets {
		body := append([]byte{0, 0, 1, 0, 0, 0, 0, 0, 1, byte(i)}, 0, 100)
		body = append(append(body, randomBytes(uint64(i), 100)...), 0, 0)
		message := append([]byte{4, 0, 0, byte(len(body))}, body...)
		var wire []byte
		for len(message) > 0 {
			n := min(len(message), 1+i)
			wire = v.peer.Seal(wire, typeHandshake, message[:n])
			message = message[n:]
		}
		if i%3 == 0 {
			wire = sealKeyUpdate(t, v.peer, wire)
		}
		wire = v.peer.Seal(wire, typeData, []byte{byte(i)})
		for len(wire) > 0 {
			n := min(len(wire), 3000)
			v.feed(wire[:n])
			wire = wire[n:]
			for {
				n, err := v.read(b)
				data = append(data, b[:n]...)
				if err == tlsstream.ErrWantRead {
					break
				}
				if err != nil {
					t.Fatalf("ticket %d: %v", i, err)
				}
			}
		}
	}
	if v.cache.puts != tickets || len(data) != tickets {
		t.Errorf("%d of %d tickets reached the cache, %d bytes came", v.cache.puts, tickets, len(data))
	}
}

// A side changes its keys by itself before they are worn out, and crypto/tls follows, in
// both directions at once and with client certificates.
func TestOwnRecordsUpdateTheirKeys(t *testing.T) {
	t.Parallel()
	for _, ours := range []string{"client", "server"} {
		t.Run(ours, func(t *testing.T) {
			t.Parallel()
			clientConfig, serverConfig := ticketConfigs()
			mutual(clientConfig, serverConfig)
			var log keyLog
			clientConfig.KeyLogWriter = &log
			o := &tlsstream.Options{OwnRecords: true}
			o.SetUpdateAfter(7)
			a, b := membio.Pipe(wide(100_000))
			var wire *wiretap
			var client, server secureConn
			if ours == "client" {
				wire = &wiretap{Conn: a}
				client, server = o.Client(wire, clientConfig), tls.Server(b, serverConfig)
			} else {
				wire = &wiretap{Conn: b}
				client, server = tls.Client(a, clientConfig), o.Server(wire, serverConfig)
			}
			if err := handshakeBoth(client, server); err != nil {
				t.Fatal(err)
			}
			p := randomBytes(3, 3<<20)
			var both sync.WaitGroup
			for _, d := range [][2]secureConn{{client, server}, {server, client}} {
				both.Go(func() {
					if _, err := d[0].Write(p); err != nil {
						t.Error(err)
					}
				})
				both.Go(func() {
					got := make([]byte, len(p))
					if _, err := io.ReadFull(d[1], got); err != nil {
						t.Error(err)
						return
					}
					if !bytes.Equal(got, p) {
						t.Error("other bytes arrived than were sent")
					}
				})
			}
			both.Wait()
			client.Close()
			server.Close()
			direction := map[string]string{"client": "CLIENT", "server": "SERVER"}[ours]
			audit := auditWire(t, log.epoch(t, direction, client.ConnectionState()), bytes.Join(wire.writes, nil))
			if want := audit.records[typeData] / 8; audit.messages[24] < want {
				t.Errorf("%d KeyUpdates in %d records, want %d at least", audit.messages[24], audit.records[typeData], want)
			}
		})
	}
}

// In the steady state a Write and a Read allocate nothing.
func TestOwnRecordsAllocateNothing(t *testing.T) {
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	client, server := ownEngines(t, clientConfig, serverConfig)
	defer server.Close()
	defer client.Close()
	for _, size := range []int{1, 1000, 60_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			p, wire := make([]byte, size), make([]byte, 80_000)
			for _, buffer := range []int{1 << 14, 1 << 10} {
				b := make([]byte, buffer)
				round := func() {
					if _, err := client.Write(p); err != nil {
						t.Fatal(err)
					}
					n, _ := client.Take(wire)
					for q := wire[:n]; len(q) > 0; {
						n, _ := server.Feed(q)
						q = q[n:]
						for {
							if _, err := server.Read(b); err == tlsstream.ErrWantRead {
								break
							} else if err != nil {
								t.Fatal(err)
							}
						}
					}
				}
				for range 20 {
					round() // records grow, and pools fill
				}
				if n := testing.AllocsPerRun(100, round); n >= 1 && !underRace {
					t.Errorf("%v allocations for a write of %d bytes, read in pieces of %d", n, size, buffer)
				}
			}
		})
	}
}

// What Read finds wrong ends writing: nothing is sealed behind the alert.
func TestOwnRecordsSealNothingBehindAnAlert(t *testing.T) {
	t.Parallel()
	var log keyLog
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	clientConfig.KeyLogWriter = &log
	client, server := ownEngines(t, clientConfig, serverConfig)
	defer server.Close()
	defer client.Close()
	if _, err := client.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Feed([]byte{23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}); err != nil {
		t.Fatal(err)
	}
	for _, call := range []func() (int, error){
		func() (int, error) { return client.Read(make([]byte, 10)) },
		func() (int, error) { return client.Write([]byte("behind")) },
		func() (int, error) { return client.Read(make([]byte, 10)) },
	} {
		n, err := call()
		var alert *tlsstream.AlertError
		if n != 0 || !errors.As(err, &alert) || alert.Alert != tlsstream.AlertBadRecordMAC || alert.Remote {
			t.Errorf("got %d, %v", n, err)
		}
	}
	if err := client.CloseWrite(); err != nil {
		t.Error(err)
	}
	audit := auditWire(t, log.epoch(t, "CLIENT", client.ConnectionState()), takeAll(client))
	if string(audit.data) != "before" || audit.records[typeAlert] != 1 {
		t.Errorf("sent %q and records %v", audit.data, audit.records)
	}
}

// A Close that finds a Write in progress sends no close_notify: half of a write must not pass
// for the whole.
func TestOwnRecordsCloseNeverCompletesHalfAWrite(t *testing.T) {
	t.Parallel()
	clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
	cheap(clientConfig, serverConfig)
	notified, broken := 0, 0
	for range 60 {
		var log keyLog
		clientConfig.KeyLogWriter = &log
		client, server := ownEngines(t, clientConfig, serverConfig)
		const size = 100_000
		var calls sync.WaitGroup
		half, started := false, make(chan struct{})
		begun := sync.OnceFunc(func() { close(started) })
		calls.Go(func() {
			p := make([]byte, size)
			for {
				n, err := client.Write(p)
				begun()
				if err != nil && err != tlsstream.ErrWantWrite {
					half = n > 0
					return
				}
			}
		})
		var wire []byte
		taken := make(chan struct{})
		go func() {
			defer close(taken)
			b := make([]byte, 10_000)
			for {
				n, err := client.Take(b)
				wire = append(wire, b[:n]...)
				if err != nil {
					return
				}
			}
		}()
		<-started
		client.Close()
		calls.Wait()
		<-taken
		audit := auditWire(t, log.epoch(t, "CLIENT", client.ConnectionState()), wire)
		if audit.records[typeAlert] > 0 {
			notified++
			if half {
				t.Fatalf("close_notify came behind half of a Write: %d bytes in all", len(audit.data))
			}
		} else {
			broken++
		}
		server.Close()
	}
	t.Logf("%d with close_notify, %d without", notified, broken)
}

// What comes in one piece with the end of the handshake is not lost in a buffer of crypto/tls's.
func TestOwnRecordsLoseNothingBehindTheHandshake(t *testing.T) {
	t.Parallel()
	for _, cut := range []int{1, 100, everything} {
		clientConfig, serverConfig := ticketConfigs()
		o := &tlsstream.Options{OwnRecords: true}
		client, server := o.ClientEngine(clientConfig), o.ServerEngine(serverConfig)
		client.Handshake()
		carry(t, client, server, everything, nil)
		server.Handshake()
		carry(t, server, client, everything, nil)
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		want := randomBytes(5, 60_000)
		if _, err := client.Write(want); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for flight := takeAll(client); len(flight) > 0; {
			n, _ := server.Feed(flight[:min(cut, len(flight))])
			flight = flight[n:]
			p, err := readReady(server)
			if err != tlsstream.ErrWantRead {
				t.Fatal(err)
			}
			got = append(got, p...)
		}
		mustEqual(t, "what came behind Finished", got, want)
		client.Close()
		server.Close()
	}
}

// The keys do not outlive the stream.
func TestOwnRecordsEndWithClose(t *testing.T) {
	t.Parallel()
	client, server := ownEngines(t, testCA.ClientConfig(), testCA.ServerConfig())
	defer server.Close()
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	wire := takeAll(client)
	if len(wire) != closeNotifyRecord {
		t.Errorf("Close sent %d bytes, want close_notify", len(wire))
	}
	if _, err := client.Write([]byte("x")); err == nil {
		t.Error("Write after Close succeeds")
	}
	if _, err := client.Read(make([]byte, 1)); err == nil || err == tlsstream.ErrWantRead {
		t.Errorf("Read after Close: %v", err)
	}
	if err := client.FlushTickets(); err != nil {
		t.Error(err)
	}
	if n := client.Pending(); n != 0 {
		t.Errorf("%d bytes are due after the end", n)
	}
	server.Feed(wire)
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the server read %v, want io.EOF", err)
	}
	if s := client.Stats(); s.Deferral != ticketdefer.DeferralOn || s.HeldRecords != 0 {
		t.Errorf("Stats: %+v", s)
	}
}
