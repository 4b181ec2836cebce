package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	utls "github.com/refraction-networking/utls"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest/cpeer"
)

// An uploader is a client that writes the pattern and closes. It never reads.
type uploader struct {
	name        string
	closeNotify bool
	readsAhead  bool // so that only a late ticket harms it
	slow        bool // to write: the control loses nothing where it has sent all when it closes
	prepare     func(*testing.T) upload
}

type upload func(ctx context.Context, port, size int) error

var uploaders = []uploader{
	{name: "openssl", prepare: uploadC("openssl", "write", "SIZE")},
	{name: "openssl-shutdown", closeNotify: true, prepare: uploadC("openssl", "write", "SIZE", "shutdown")},
	{name: "gnutls", prepare: uploadC("gnutls", "write", "SIZE")},
	{name: "gnutls-bye", closeNotify: true, prepare: uploadC("gnutls", "write", "SIZE", "shutdown")},
	{name: "python", prepare: uploadPython},
	{name: "java", closeNotify: true, readsAhead: true, slow: true, prepare: uploadJava},
	{name: "go", closeNotify: true, readsAhead: true, prepare: func(*testing.T) upload { return uploadGo }},
	{name: "utls-chrome", closeNotify: true, readsAhead: true, prepare: func(*testing.T) upload { return uploadUTLS }},
}

// sources is the folder of the C and Python clients of package tlsstream's tests.
var sources = filepath.Join("..", "..", "..", "..", "tlsstream", "testdata")

// caFile returns the path of testCA's certificate.
func caFile(t *testing.T) string {
	t.Helper()
	file, _, _, err := testCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, bytes.TrimSpace(out))
	}
	return nil
}

// buildC builds the C client on a library, once.
func buildC(t *testing.T, library string) string {
	t.Helper()
	client, err := cpeer.Build(t.TempDir(), library)
	if err != nil {
		tlstest.Missing(t, "%v", err)
	}
	return client
}

// uploadC runs the C client with operations in which SIZE stands for the size.
func uploadC(library string, ops ...string) func(*testing.T) upload {
	return func(t *testing.T) upload {
		client, ca := buildC(t, library), caFile(t)
		return func(ctx context.Context, port, size int) error {
			args := []string{strconv.Itoa(port), ca}
			for _, op := range ops {
				args = append(args, strings.Replace(op, "SIZE", strconv.Itoa(size), 1))
			}
			return run(ctx, client, args...)
		}
	}
}

// python is the interpreter itself: what is in the PATH may be a slow script that looks
// for one.
var python = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("python3", "-c", "import ssl, sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
})

func uploadPython(t *testing.T) upload {
	interpreter, err := python()
	if err != nil {
		tlstest.Missing(t, "python3: %v", err)
	}
	ca := caFile(t)
	return func(ctx context.Context, port, size int) error {
		return run(ctx, interpreter, filepath.Join(sources, "upload.py"), strconv.Itoa(port), ca, strconv.Itoa(size))
	}
}

func uploadJava(t *testing.T) upload {
	java, classes := tlstest.Program(t, "java"), t.TempDir()
	if err := run(t.Context(), tlstest.Program(t, "javac"), "-d", classes, filepath.Join("testdata", "Upload.java")); err != nil {
		t.Fatal(err)
	}
	ca := caFile(t)
	return func(ctx context.Context, port, size int) error {
		return run(ctx, java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", classes, "Upload", strconv.Itoa(port), ca, strconv.Itoa(size))
	}
}

// uploadGo has a session cache: without one crypto/tls asks for no tickets, and the test
// would be vacuous.
func uploadGo(ctx context.Context, port, size int) error {
	config := testCA.ClientConfig()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	return writeAndClose(ctx, port, size, func(conn net.Conn) net.Conn { return tls.Client(conn, config) })
}

// uploadUTLS looks like Chrome, which always asks for tickets.
func uploadUTLS(ctx context.Context, port, size int) error {
	config := &utls.Config{RootCAs: testCA.Pool(), ServerName: "localhost"}
	return writeAndClose(ctx, port, size, func(conn net.Conn) net.Conn {
		return utls.UClient(conn, config, utls.HelloChrome_Auto)
	})
}

func writeAndClose(ctx context.Context, port, size int, client func(net.Conn) net.Conn) error {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := client(raw)
	if _, err := conn.Write(pattern(size)); err != nil {
		conn.Close()
		return err
	}
	return conn.Close()
}

// curl uploads by HTTP, and reads the answer; a plain server behind the proxy takes the
// body slowly, and answers at its end.
func TestCurlUploadsArriveWhole(t *testing.T) {
	curl, ca := tlstest.Program(t, "curl"), caFile(t)
	const size = 8 << 20
	file := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(file, pattern(size), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan int, 1)
	r := start(t, testConfig(slowHTTP(t, got)))
	for range 3 {
		if err := run(t.Context(), curl, "-sSf", "--cacert", ca, "-T", file, "https://"+strings.Replace(r.address, "127.0.0.1", "localhost", 1)+"/upload"); err != nil {
			t.Error(err)
		}
		if n := <-got; n != size {
			t.Errorf("%d bytes arrived of %d", n, size)
		}
	}
}
