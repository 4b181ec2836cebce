package ftpd

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who resumes its TLS session on the data connection uploads, who does not is told
// why not. The tickets that make it possible are held back until the first reply.
func TestRequireReuseWithRealClients(t *testing.T) {
	content := randomBytes(300_000)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if c.bare {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t, func(config *Config) { config.RequireReuse = true })
			out, err := c.upload(t, s, file, "name")
			if !c.freshData {
				if err != nil || s.has(t, "name") != sum(content) {
					t.Errorf("%v\n%s", err, out)
				}
				return
			}
			if err == nil || s.has(t, "name") != "" {
				t.Errorf("uploaded without reuse\n%s", out)
			}
			if log := s.log.String(); !strings.Contains(log, errNoReuse.Error()) {
				t.Error("the log does not say why")
			}
		})
	}
}

// A session of another control connection, and one that resumed it, are told apart.
func TestReuseIsOfTheControlConnectionsOwnSession(t *testing.T) {
	s := startServer(t, func(config *Config) { config.RequireReuse = true })
	content := randomBytes(10_000)
	store := func(c *rawClient, name string) bool {
		t.Helper()
		raw := c.passive()
		if err := c.text.PrintfLine("STOR %s", name); err != nil {
			t.Fatal(err)
		}
		c.expect(150)
		data := c.tls(raw)
		data.Write(content)
		data.Close()
		code, message, err := c.text.ReadResponse(0)
		switch {
		case code == 226 && s.has(t, name) == sum(content):
			return true
		case code != 550 || !strings.Contains(message, errNoReuse.Error()) || s.has(t, name) != "":
			t.Errorf("reply %d %s, %v", code, message, err)
		}
		return false
	}
	cached := func(c *rawClient) *tls.Config {
		config := c.config.Clone()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		return config
	}

	alice := loginRaw(t, s)
	if !store(alice, "first") || !store(alice, "second") {
		t.Error("the control connection's session does not count")
	}
	mallory := loginRaw(t, s)
	own := mallory.config
	mallory.config = alice.config
	if store(mallory, "stolen") {
		t.Error("the session of another control connection counts")
	}
	mallory.config = cached(mallory)
	if store(mallory, "fresh") {
		t.Error("a new session counts")
	}
	mallory.config = own
	if !store(mallory, "own") {
		t.Error("after a refusal the own session does not count")
	}

	// Who resumes on the control connection, and only has the ticket it came
	// with, is known by that.
	again := loginRawWith(t, s, &frozenCache{inner: alice.config.ClientSessionCache})
	if !again.conn.ConnectionState().DidResume {
		t.Fatal("the control connection did not resume")
	}
	if !store(again, "again") {
		t.Error("the session that the control connection resumed does not count")
	}
}

// A frozenCache gives the sessions of another, and takes none.
type frozenCache struct{ inner tls.ClientSessionCache }

func (c *frozenCache) Get(key string) (*tls.ClientSessionState, bool) { return c.inner.Get(key) }
func (c *frozenCache) Put(string, *tls.ClientSessionState)            {}

// A onceCache gives each session once, as OpenSSL does. It counts what it was given.
type onceCache struct {
	tls.ClientSessionCache
	puts int
}

func (c *onceCache) Get(key string) (*tls.ClientSessionState, bool) {
	session, ok := c.ClientSessionCache.Get(key)
	c.ClientSessionCache.Put(key, nil)
	return session, ok
}

func (c *onceCache) Put(key string, session *tls.ClientSessionState) {
	if session != nil {
		c.puts++
	}
	c.ClientSessionCache.Put(key, session)
}

// Without the repeater the second upload is refused.
func TestTicketThatWasUsedIsSentAgain(t *testing.T) {
	const uploads = 20
	for _, required := range []bool{true, false} {
		s := startServer(t, func(config *Config) { config.RequireReuse = required })
		cache := &onceCache{ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		c := loginRawWith(t, s, cache)
		resumed := 0
		for range uploads {
			data, raw := c.store("name")
			if data.ConnectionState().DidResume {
				resumed++
			}
			data.CloseWrite()
			raw.Close() // the ticket behind the data is not read
			c.expect(226)
		}
		want := map[bool]int{true: uploads, false: 1}[required]
		if resumed != want || cache.puts < want {
			t.Errorf("with reuse required %v: %d of %d data connections resumed, %d tickets came", required, resumed, uploads, cache.puts)
		}
	}
}

// TLS 1.2 has no ticket outside of its handshake, and uses them more than once.
func TestRequireReuseWithTLS12(t *testing.T) {
	s := startServer(t, func(config *Config) {
		config.RequireReuse = true
		config.TLS.MaxVersion = tls.VersionTLS12
	})
	c := loginRaw(t, s)
	for range 3 {
		data, _ := c.store("name")
		if !data.ConnectionState().DidResume {
			t.Error("not resumed")
		}
		data.Close()
		c.expect(226)
	}
}
