package ftpd

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// An ending is how a client ends an upload, after it has sent its data.
type ending struct {
	name string
	end  func(t *testing.T, c *rawClient, data *tls.Conn, raw *net.TCPConn)
	// proper is set if it is the end of an upload, and bare if it can pass for
	// one.
	proper, bare bool
	// reply is part of the text of the reply; empty if nobody is there for one.
	reply string
	// late is set if the server is to have written something before.
	late bool
}

const bareFIN = "truncated: the data connection ended without close_notify"

var endings = []ending{
	{name: "close_notify", proper: true, reply: "Closing", end: func(t *testing.T, _ *rawClient, data *tls.Conn, _ *net.TCPConn) {
		data.Close()
	}},
	{name: "close_notify, and the connection left open", proper: true, reply: "Closing", end: func(t *testing.T, _ *rawClient, data *tls.Conn, _ *net.TCPConn) {
		data.CloseWrite()
	}},
	{name: "FIN between records", bare: true, reply: bareFIN, end: func(_ *testing.T, _ *rawClient, _ *tls.Conn, raw *net.TCPConn) {
		raw.CloseWrite()
	}},
	{name: "FIN in the middle of a record", reply: "truncated", end: func(_ *testing.T, _ *rawClient, _ *tls.Conn, raw *net.TCPConn) {
		raw.Write([]byte{23, 3, 3, 0, 100, 1, 2, 3})
		raw.CloseWrite()
	}},
	{name: "RST", late: true, reply: "truncated: read tcp", end: func(_ *testing.T, _ *rawClient, _ *tls.Conn, raw *net.TCPConn) {
		raw.SetLinger(0)
		raw.Close()
	}},
	{name: "fatal alert", reply: "remote error: tls: internal error", end: func(t *testing.T, _ *rawClient, data *tls.Conn, _ *net.TCPConn) {
		if err := tlsstream.Abort(data, tlsstream.AlertInternalError); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "a record that does not authenticate", reply: "bad record MAC", end: func(_ *testing.T, _ *rawClient, _ *tls.Conn, raw *net.TCPConn) {
		raw.Write(append([]byte{23, 3, 3, 0, 100}, make([]byte, 100)...))
	}},
	{name: "ABOR", late: true, reply: "ABOR successful", end: func(t *testing.T, c *rawClient, _ *tls.Conn, _ *net.TCPConn) {
		c.command(426, "ABOR")
	}},
	{name: "control connection gone", late: true, end: func(_ *testing.T, c *rawClient, _ *tls.Conn, _ *net.TCPConn) {
		c.conn.Close()
	}},
}

// How an upload ends decides about the name that its file has, and about the reply.
// TestBareEndPassesWithoutTheWatch shows that crypto/tls alone could not tell.
func TestOnlyCloseNotifyEndsAnUpload(t *testing.T) {
	content := randomBytes(40_000)
	for _, e := range endings {
		for _, mode := range []string{"I", "A"} {
			for _, before := range []string{"", "an older version"} {
				t.Run(e.name+"/TYPE "+mode+"/"+before, func(t *testing.T) {
					t.Parallel()
					s := startServer(t, nil)
					sent := content
					if mode == "A" { // one long line: the library rewrites the ends of lines
						sent = []byte(strings.Repeat("0123456789", len(content)/10))
					}
					old := ""
					if before != "" {
						old = sum([]byte(before))
						if err := os.WriteFile(filepath.Join(s.root, "name"), []byte(before), 0o600); err != nil {
							t.Fatal(err)
						}
					}
					c := loginRaw(t, s)
					c.command(200, "TYPE %s", mode)
					data, raw := c.store("name")
					if _, err := data.Write(sent); err != nil {
						t.Fatal(err)
					}
					if e.late {
						s.awaitSome(t, "name.partial")
					}
					e.end(t, c, data, raw)
					switch {
					case e.proper:
						c.expect(226)
						s.log.await(t, `msg="upload complete"`, 1)
						if s.has(t, "name") != sum(sent) || s.has(t, "name.partial") != "" {
							t.Error("the upload is not there, or not alone")
						}
						return
					case e.reply == "":
					case strings.HasPrefix(e.reply, "ABOR"):
						c.expect(226)
					default:
						if message := c.expect(550); !strings.Contains(message, e.reply) {
							t.Errorf("the reply is %q", message)
						}
					}
					s.log.await(t, `msg="upload failed`, 1)
					if got := s.has(t, "name"); got != old {
						t.Errorf("something is under the name: %s, before it was %q", got, old)
					}
					if _, err := os.Stat(filepath.Join(s.root, "name.partial")); err != nil {
						t.Errorf("what came is not kept: %v", err)
					}
				})
			}
		}
	}
}

// With AllowTruncated, which gives crypto/tls the end of the transport as it is, a
// bare FIN between two records passes for the end. Nothing else does.
func TestBareEndPassesWithoutTheWatch(t *testing.T) {
	content := randomBytes(40_000)
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, func(c *Config) { c.AllowTruncated = true })
			c := loginRaw(t, s)
			data, raw := c.store("name")
			if _, err := data.Write(content); err != nil {
				t.Fatal(err)
			}
			if e.late {
				s.awaitSome(t, "name.partial")
			}
			e.end(t, c, data, raw)
			if e.proper || e.bare {
				c.expect(226)
				if s.has(t, "name") != sum(content) {
					t.Error("the upload is not there")
				}
				return
			}
			s.log.await(t, `msg="upload failed`, 1)
			if s.has(t, "name") != "" {
				t.Error("something is under the name")
			}
		})
	}
}

// A client that dies before it sends anything must not make an empty file.
func TestAnEmptyFileNeedsCloseNotify(t *testing.T) {
	for _, allow := range []bool{false, true} {
		for name, die := range map[string]func(c *rawClient, raw *net.TCPConn){
			"before TLS": func(_ *rawClient, raw *net.TCPConn) { raw.CloseWrite() },
			"in the ClientHello": func(_ *rawClient, raw *net.TCPConn) {
				raw.Write([]byte{22, 3, 1, 1, 0, 1})
				raw.CloseWrite()
			},
			"after the handshake": func(c *rawClient, raw *net.TCPConn) {
				tls.Client(raw, c.config).Handshake()
				raw.CloseWrite()
			},
		} {
			t.Run(name, func(t *testing.T) {
				s := startServer(t, func(c *Config) { c.AllowTruncated = allow })
				c := loginRaw(t, s)
				raw := c.passive()
				if err := c.text.PrintfLine("STOR empty"); err != nil {
					t.Fatal(err)
				}
				c.expect(150)
				die(c, raw)
				if message := c.expect(550); !strings.Contains(message, "truncated") && !strings.Contains(message, "unexpected EOF") {
					t.Errorf("the reply is %q", message)
				}
				if files, err := os.ReadDir(s.root); err != nil || len(files) > 0 {
					t.Errorf("left behind: %v, %v", files, err)
				}
			})
		}
	}
	s := startServer(t, nil)
	c := loginRaw(t, s)
	data, _ := c.store("empty")
	data.Close()
	c.expect(226)
	if s.has(t, "empty") != sum(nil) {
		t.Error("an empty file with close_notify is not there")
	}
}
