package ftpd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
)

// put uploads and returns the reply.
func (c *rawClient) put(command, name string, content []byte) (int, string) {
	c.t.Helper()
	raw := c.passive()
	if err := c.text.PrintfLine("%s %s", command, name); err != nil {
		c.t.Fatal(err)
	}
	code, message, err := c.text.ReadResponse(0)
	if code != 150 {
		return code, message
	}
	if err != nil {
		c.t.Fatal(err)
	}
	data := c.tls(raw)
	data.Write(content) // the reply tells whether it failed
	data.Close()
	code, message, err = c.text.ReadResponse(0)
	if code == 0 {
		c.t.Fatal(err)
	}
	return code, message
}

func TestQuotaBoundsWhatAUserHas(t *testing.T) {
	s := startServer(t, nil)
	s.config.Users = testUsers(t, User{Name: testUser, Root: s.root, Quota: 100_000})
	if err := os.WriteFile(filepath.Join(s.root, "old"), make([]byte, 30_000), 0o600); err != nil {
		t.Fatal(err)
	}
	c := loginRaw(t, s)
	put := func(name string, size, want int) {
		t.Helper()
		code, message := c.put("STOR", name, randomBytes(size))
		if code != want {
			t.Fatalf("%s of %d bytes: %d %s, want %d", name, size, code, message, want)
		}
		if (s.has(t, name) == sum(randomBytes(size))) != (want == 226) {
			t.Errorf("%s of %d bytes was answered %d, and is there or not", name, size, code)
		}
	}
	put("a", 60_000, 226)
	put("b", 20_000, 552)
	c.command(550, "ALLO 20000")
	c.command(200, "ALLO 1000")
	c.command(250, "DELE b.partial")
	put("c", 9_000, 226)
	c.command(250, "DELE old")
	put("d", 30_000, 226)
	// A file that is replaced counts until the new one is whole.
	put("d", 900, 226)
	put("e", 29_000, 226)
	put("f", 3_000, 552)
}

func TestRateBoundsBytesPerSecond(t *testing.T) {
	const rate = 400_000
	s := startServer(t, nil)
	s.config.Users = testUsers(t, User{Name: testUser, Root: s.root, Rate: rate})
	c := loginRaw(t, s)
	content := randomBytes(300_000)
	// The first burst is free.
	atLeast := time.Duration(float64(len(content)-minBurst) / rate * float64(time.Second))
	begun := time.Now()
	if code, message := c.put("STOR", "name", content); code != 226 {
		t.Fatal(code, message)
	}
	if took := time.Since(begun); took < atLeast {
		t.Errorf("%d bytes came in %v, want at least %v", len(content), took, atLeast)
	}
	begun = time.Now()
	if got := c.get("name"); !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back", len(got))
	}
	if took := time.Since(begun); took < atLeast {
		t.Errorf("%d bytes went in %v, want at least %v", len(content), took, atLeast)
	}
}

// get downloads.
func (c *rawClient) get(name string) []byte {
	c.t.Helper()
	raw := c.passive()
	if err := c.text.PrintfLine("RETR %s", name); err != nil {
		c.t.Fatal(err)
	}
	c.expect(150)
	content, err := io.ReadAll(c.tls(raw))
	if err != nil {
		c.t.Fatal(err)
	}
	c.expect(226)
	return content
}

func TestConnectionsAreBounded(t *testing.T) {
	const most = 3
	s := startServer(t, func(c *Config) { c.MaxConnections = most })
	var held []*rawClient
	for range most {
		held = append(held, loginRaw(t, s))
	}
	refused := func(addr string) string {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(rawTimeout))
		line, err := textproto.NewConn(conn).ReadLine()
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			t.Error(err)
		}
		return line
	}
	if line := refused(s.explicit); !strings.HasPrefix(line, "421 Too many connections") {
		t.Errorf("one too many is told %q", line)
	}
	if line := refused(s.implicit); line != "" {
		t.Errorf("one too many is told %q in plain text", line)
	}
	held[0].command(221, "QUIT")
	for deadline := time.Now().Add(rawTimeout); len(s.slots) == most; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the place does not become free")
		}
	}
	loginRaw(t, s)
}

func TestIdleConnectionsEnd(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Idle = time.Second })
	// Nothing is said.
	c := loginRaw(t, s)
	c.expect(421)
	// Nothing is sent.
	c = loginRaw(t, s)
	data, _ := c.store("name")
	if _, err := data.Write(randomBytes(1000)); err != nil {
		t.Fatal(err)
	}
	if message := c.expect(550); !strings.Contains(message, "timeout") {
		t.Errorf("the reply is %q", message)
	}
	if s.has(t, "name") != "" || s.has(t, "name.partial") == "" {
		t.Error("the upload is not kept as .partial")
	}
}

func TestWhoDoesNotLogInIsClosed(t *testing.T) {
	s := startServer(t, func(c *Config) { c.login = 1500 * time.Millisecond })
	in := loginRaw(t, s)
	out := dialRawWith(t, s, nil)
	out.command(331, "USER %s", testUser)
	if _, err := out.text.ReadLine(); err == nil {
		t.Error("there is a line more")
	}
	s.log.await(t, "not logged in, closed", 1)
	in.command(200, "NOOP")
}

func TestFullQuotaIsCountedAgain(t *testing.T) {
	l := newLimits(100, 0)
	there := int64(90)
	count := func() (int64, error) { return there, nil }
	if err := l.take(10, count); err != nil {
		t.Fatal(err)
	}
	there = 0 // somebody has cleaned up
	if err := l.take(1, count); !errors.Is(err, ftpserver.ErrStorageExceeded) {
		t.Errorf("counted again at once: %v", err)
	}
	l.counted = l.counted.Add(-2 * recount)
	if err := l.take(1, count); err != nil {
		t.Error(err)
	}
	l = newLimits(100, 0)
	broken := fmt.Errorf("no disk")
	if err := l.take(1, func() (int64, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}
