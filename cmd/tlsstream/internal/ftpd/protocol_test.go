package ftpd

import (
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

func TestOnlyTLSIsServed(t *testing.T) {
	s := startServer(t, nil)
	conn, err := net.Dial("tcp", s.explicit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(rawTimeout))
	plain := &rawClient{t: t, text: textproto.NewConn(conn)}
	plain.expect(220)
	plain.command(530, "LIST")
	plain.command(421, "USER %s", testUser)

	c := loginRaw(t, s)
	c.command(550, "AUTH TLS") // there is TLS already
	c.command(200, "PROT C")
	c.passive()
	if message := c.command(421, "STOR name"); !strings.Contains(message, "TLS is required") {
		t.Errorf("data in plain text: %q", message)
	}
	s.log.await(t, `msg="upload failed, nothing came"`, 1)
	if files, err := os.ReadDir(s.root); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// Plain text that came with AUTH must not be taken for what came through TLS.
func TestPlainTextBehindAuthIsDropped(t *testing.T) {
	s := startServer(t, nil)
	conn, err := net.Dial("tcp", s.explicit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(rawTimeout))
	text := textproto.NewConn(conn)
	if _, _, err := text.ReadResponse(220); err != nil {
		t.Fatal(err)
	}
	if err := text.PrintfLine("AUTH TLS\r\nUSER %s\r\nPASS %s", testUser, testPassword); err != nil {
		t.Fatal(err)
	}
	if _, _, err := text.ReadResponse(234); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{t: t, config: s.ca.ClientConfig()}
	c.startTLS(conn)
	c.command(530, "LIST")
}

func TestActiveModeIsRefused(t *testing.T) {
	s := startServer(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	c := loginRaw(t, s)
	for _, protection := range []string{"C", "P"} {
		c.command(200, "PROT %s", protection)
		if message := c.command(421, "EPRT |1|127.0.0.1|%d|", port); message != "EPRT command is disabled" {
			t.Errorf("EPRT: %q", message)
		}
		if message := c.command(421, "PORT 127,0,0,1,%d,%d", port>>8, port&0xff); message != "PORT command is disabled" {
			t.Errorf("PORT: %q", message)
		}
	}
	c.command(550, "STOR name") // no data connection: none was made
}

func TestStrangersCannotTakeADataConnection(t *testing.T) {
	s := startServer(t, nil)
	c := loginRaw(t, s)
	message := c.command(229, "EPSV")
	_, port, _ := strings.Cut(message, "(|||")
	port, _, _ = strings.Cut(port, "|")
	address := net.JoinHostPort("127.0.0.1", port)
	stranger, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", address)
	if err != nil {
		t.Skip("no second loopback address: ", err)
	}
	defer stranger.Close()
	if err := c.text.PrintfLine("STOR name"); err != nil {
		t.Fatal(err)
	}
	stranger.SetDeadline(time.Now().Add(rawTimeout))
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger was served")
	}
	data := c.dialData(address)
	c.expect(150)
	if _, err := data.Write([]byte("mine")); err != nil {
		t.Fatal(err)
	}
	data.Close()
	c.expect(226)
	if s.has(t, "name") != sum([]byte("mine")) {
		t.Error("the client's upload is not there")
	}
}

func TestUserSeesOnlyTheOwnFolder(t *testing.T) {
	s := startServer(t, nil)
	outside := filepath.Join(filepath.Dir(s.root), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := loginRaw(t, s)
	for _, name := range []string{"../outside", "/../outside", "a/../../outside", outside} {
		c.command(550, "SIZE %s", name)
	}
	for _, name := range []string{"../outside", "/../outside", "a/../../outside"} {
		if code, message := c.put("STOR", name, []byte("mine")); code != 226 || s.has(t, "outside") != sum([]byte("mine")) {
			t.Errorf("STOR %s: %d %s", name, code, message)
		}
		c.command(250, "DELE %s", name)
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "secret" {
		t.Errorf("the file outside holds %q, %v", content, err)
	}
}

// Who can make links in the folder by other ways must not get the server's rights
// outside of it.
func TestLinksDoNotLeadOutOfTheFolder(t *testing.T) {
	s := startServer(t, nil)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.root, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"out": outside, "name.partial": secret, "in": "folder"} {
		if err := os.Symlink(to, filepath.Join(s.root, name)); err != nil {
			t.Skip(err)
		}
	}
	c := loginRaw(t, s)
	c.command(550, "SIZE out/secret")
	c.command(550, "DELE out/secret")
	c.command(550, "MKD out/folder")
	for _, name := range []string{"out/secret", "out/new", "name"} {
		if code, message := c.put("STOR", name, []byte("mine")); code/100 != 5 || strings.Contains(message, s.root) {
			t.Errorf("STOR %s: %d %s", name, code, message)
		}
	}
	if code, message := c.put("STOR", "in/name", []byte("mine")); code != 226 || s.has(t, "folder/name") == "" {
		t.Errorf("through a link that stays inside: %d %s", code, message)
	}
	if content, err := os.ReadFile(secret); err != nil || string(content) != "secret" {
		t.Errorf("the file outside holds %q, %v", content, err)
	}
	if files, err := os.ReadDir(outside); err != nil || len(files) != 1 {
		t.Errorf("outside: %v, %v", files, err)
	}
}

// Logins on one connection must not cost a descriptor each.
func TestLoginAgain(t *testing.T) {
	s := startServer(t, nil)
	c := loginRaw(t, s)
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(files)
	}
	before := open()
	for range 50 {
		c.command(331, "USER %s", testUser)
		c.command(230, "PASS %s", testPassword)
	}
	if now := open(); now > before+20 {
		t.Errorf("%d descriptors, and %d before", now, before)
	}
	if code, message := c.put("STOR", "name", []byte("mine")); code != 226 {
		t.Errorf("%d %s", code, message)
	}
}

func TestTheFolderItselfStays(t *testing.T) {
	s := startServer(t, nil)
	c := loginRaw(t, s)
	c.command(550, "RMD /")
	c.command(550, "DELE /")
	if _, err := os.Stat(s.root); err != nil {
		t.Error(err)
	}
}

func TestNamesOfPartialUploadsAreReserved(t *testing.T) {
	s := startServer(t, nil)
	c := loginRaw(t, s)
	if code, message := c.put("STOR", "name.partial", []byte("x")); code != 553 {
		t.Errorf("STOR: %d %s", code, message)
	}
	c.command(550, "MKD folder.partial")
	if err := os.WriteFile(filepath.Join(s.root, "old.partial"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.command(350, "RNFR old.partial")
	c.command(553, "RNTO old")
	if code, message := c.put("STOR", "whole", []byte("whole")); code != 226 {
		t.Fatal(code, message)
	}
	c.command(350, "RNFR whole")
	c.command(553, "RNTO whole.partial")
	c.command(250, "RNTO renamed")
	c.command(250, "DELE old.partial")
	c.command(257, "MKD folder")
	if code, message := c.put("STOR", "folder", []byte("x")); code != 553 {
		t.Errorf("STOR of a folder: %d %s", code, message)
	}
	if code, message := c.put("STOR", "nowhere/name", []byte("x")); code != 550 {
		t.Errorf("STOR in a folder that is not there: %d %s", code, message)
	}

	// One upload at a time has a name.
	data, _ := c.store("busy")
	if _, err := data.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	s.awaitSome(t, "busy.partial")
	other := loginRaw(t, s)
	if code, message := other.put("STOR", "busy", []byte("second")); code != 550 || !strings.Contains(message, "in progress") {
		t.Errorf("a second upload: %d %s", code, message)
	}
	other.command(550, "DELE busy.partial")
	data.Close()
	c.expect(226)
	if s.has(t, "busy") != sum([]byte("first")) {
		t.Error("the first upload is not what is there")
	}
	if code, message := other.put("STOR", "busy", []byte("second")); code != 226 {
		t.Errorf("an upload after it: %d %s", code, message)
	}
}

// A file may be in the folders of two users.
func TestUploadsOfTwoUsersDoNotMix(t *testing.T) {
	s := startServer(t, nil)
	folder := filepath.Join(s.root, "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(folder, link); err != nil {
		t.Skip(err)
	}
	outer := loginRaw(t, s)
	data, _ := outer.store("folder/name")
	if _, err := data.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	s.awaitSome(t, "folder/name.partial")
	s.config.Users = testUsers(t, User{Name: testUser, Root: link})
	inner := loginRaw(t, s)
	if code, message := inner.put("STOR", "name", []byte("second")); code != 550 || !strings.Contains(message, "in progress") {
		t.Errorf("a second upload: %d %s", code, message)
	}
	data.Close()
	outer.expect(226)
	if s.has(t, "folder/name") != sum([]byte("first")) {
		t.Error("the first upload is not what is there")
	}
}

// What a client continues stays as it is until the end of the upload.
func TestAppendAndResume(t *testing.T) {
	s := startServer(t, nil)
	c := loginRaw(t, s)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put := func(command, name, content string) {
		t.Helper()
		if code, message := c.put(command, name, []byte(content)); code != 226 {
			t.Fatalf("%s %s: %d %s", command, name, code, message)
		}
	}
	want := func(name, content string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(s.root, name)); err != nil || string(got) != content {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, content)
		}
	}

	write("log", "one ")
	put("APPE", "log", "two")
	want("log", "one two")
	put("APPE", "new", "first")
	want("new", "first")

	write("file.partial", "0123456789xxx")
	c.command(350, "REST 10")
	put("STOR", "file", "abc")
	want("file", "0123456789abc")

	// curl -C resumes by APPE: the rest alone must not get the name of the whole.
	write("headless.partial", "0123456789")
	if code, message := c.put("APPE", "headless", []byte("abc")); code != 550 || !strings.Contains(message, "REST and STOR") {
		t.Errorf("appended to a file of which a part is here: %d %s", code, message)
	}
	want("headless.partial", "0123456789")

	write("whole", "0123456789")
	c.command(350, "REST 4")
	put("STOR", "whole", "abc")
	want("whole", "0123abc")

	// Not with what an upload of another version has left.
	write("whole.partial", "xxxxxxxxxx")
	c.command(350, "REST 4")
	put("STOR", "whole", "abc")
	want("whole", "0123abc")

	c.command(350, "REST 8")
	if code, message := c.put("STOR", "whole", []byte("x")); code != 550 || !strings.Contains(message, "cannot resume at 8: only 7 bytes") {
		t.Errorf("resumed behind the end: %d %s", code, message)
	}
	c.command(350, "REST -1")
	if code, message := c.put("STOR", "whole", []byte("x")); code != 550 {
		t.Errorf("resumed before the begin: %d %s", code, message)
	}
	want("whole", "0123abc")

	// A truncated append leaves the file as it was.
	raw := c.passive()
	if err := c.text.PrintfLine("APPE log"); err != nil {
		t.Fatal(err)
	}
	c.expect(150)
	data := c.tls(raw)
	if _, err := data.Write([]byte("three")); err != nil {
		t.Fatal(err)
	}
	raw.CloseWrite()
	c.expect(550)
	want("log", "one two")
	want("log.partial", "one twothree")
	// The next one does not begin with what that left.
	put("APPE", "log", " four")
	want("log", "one two four")
	put("STOR", "log", "")
	want("log", "")
}

// OpenSSL uses a ticket once, so each data connection needs one of its own.
func TestCurlUploadsSeveralFilesAndAppends(t *testing.T) {
	s := startServer(t, func(c *Config) { c.RequireReuse = true })
	folder := t.TempDir()
	var files []string
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(name+name), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(folder, name))
	}
	args := []string{"--silent", "--show-error", "--ssl-reqd", "--cacert", s.caFile, "--user", testUser + ":" + testPassword}
	upload := append(args, "--upload-file", "{"+strings.Join(files, ",")+"}", "ftp://"+s.explicit+"/")
	for _, more := range [][]string{upload, append(upload, "--append")} {
		if out, err := exec.Command(tlstest.Program(t, "curl"), more...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		if s.has(t, name) != sum([]byte(name+name+name+name)) {
			t.Errorf("%s is not what was sent", name)
		}
	}
}
