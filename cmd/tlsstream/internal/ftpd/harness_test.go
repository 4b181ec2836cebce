package ftpd

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/afero"
	"golang.org/x/crypto/bcrypt"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

var (
	runs  = flag.Int("ftpd.runs", 1, "how often each client uploads each size")
	kills = flag.Int("ftpd.kills", 10, "how many uploads are killed")
	large = flag.Bool("ftpd.large", false, "upload 64 MiB, too")
)

const (
	testUser     = "bob"
	testPassword = "correct horse"
)

// A testServer is a Server with one user, on loopback.
type testServer struct {
	*Server
	root               string
	explicit, implicit string
	ca                 *tlstest.CA
	caFile             string
	log                *testLog
}

// testCA signs for all servers: clients trust it by a file.
var testCA = tlstest.NewCA()

func testUsers(t testing.TB, user User) *Users {
	t.Helper()
	users := NewUsers()
	hash, err := bcrypt.GenerateFromPassword([]byte(testPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := users.Add(user, string(hash)); err != nil {
		t.Fatal(err)
	}
	return users
}

func startServer(t testing.TB, change func(*Config)) *testServer {
	t.Helper()
	s := &testServer{root: t.TempDir(), ca: testCA, log: &testLog{}}
	config := Config{
		Users:          testUsers(t, User{Name: testUser, Root: s.root}),
		TLS:            s.ca.ServerConfig(),
		MaxConnections: 20,
		Idle:           time.Minute,
		Log:            slog.New(slog.NewTextHandler(s.log, nil)),
	}
	if change != nil {
		change(&config)
	}
	var err error
	if s.Server, err = New(config); err != nil {
		t.Fatal(err)
	}
	if s.caFile, _, _, err = s.ca.WriteFiles(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	for implicit, addr := range map[bool]*string{false: &s.explicit, true: &s.implicit} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*addr = l.Addr().String()
		served.Go(func() {
			if err := s.Serve(l, implicit); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		ctx := t.Context() // done by now: nothing is waited for
		s.Shutdown(ctx)
		served.Wait()
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.log)
		}
	})
	return s
}

// A testLog collects a server's log.
type testLog struct{ tlstest.Buffer }

// await waits until the log has text, n times.
func (l *testLog) await(t testing.TB, text string, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); strings.Count(l.String(), text) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not show %d times %q:\n%s", n, text, l)
		}
	}
}

// has reports what is under a name in the server's folder: "" if nothing.
func (s *testServer) has(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.root, name))
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return sum(content)
}

// awaitSome waits until a file has bytes in it.
func (s *testServer) awaitSome(t testing.TB, name string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(filepath.Join(s.root, name)); err == nil && info.Size() > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing comes into %s", name)
		}
	}
}

// sum tells contents apart in messages.
func sum(content []byte) string {
	hash := sha256.Sum256(content)
	return hex.EncodeToString(hash[:8])
}

// randomBytes returns content that is the same for the same size.
func randomBytes(size int) []byte {
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24)}).Read(content)
	return content
}

// slowDisk is a disk whose files take their time: at first, and with each write.
type slowDisk struct{ afero.Fs }

const (
	slowFirst = 200 * time.Millisecond
	slowEach  = time.Millisecond // for 16 KiB
)

func newSlowDisk(root string) afero.Fs {
	return &slowDisk{afero.NewBasePathFs(afero.NewOsFs(), root)}
}

func (d *slowDisk) OpenFile(name string, flag int, mode os.FileMode) (afero.File, error) {
	file, err := d.Fs.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	return &slowFile{File: file}, nil
}

type slowFile struct {
	afero.File
	begun bool
}

func (f *slowFile) Write(p []byte) (int, error) {
	if !f.begun {
		f.begun = true
		time.Sleep(slowFirst)
	}
	time.Sleep(slowEach * time.Duration(1+len(p)>>14))
	return f.File.Write(p)
}

var _ io.Writer = (*slowFile)(nil)
