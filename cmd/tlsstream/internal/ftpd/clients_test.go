package ftpd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/afero"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A client is a real program that uploads a file. Its exit status tells whether it
// believes that all went well.
type client struct {
	name    string
	program string
	// bare is set if it ends uploads without close_notify.
	bare bool
	// freshData is set if its data connections do not resume the session of
	// the control connection.
	freshData bool
	args      func(s *testServer, file, name string) []string
}

var clients = []client{
	{name: "curl", program: "curl", args: curl("--ssl-reqd")},
	{name: "curl, implicit", program: "curl", args: curl("")},
	{name: "curl --no-sessionid", program: "curl", args: curl("--ssl-reqd", "--no-sessionid"), freshData: true},
	{name: "lftp", program: "lftp", args: lftp("")},
	{name: "lftp, no ssl-copy-sid", program: "lftp", args: lftp("set ftp:ssl-copy-sid no;"), freshData: true},
	{name: "ftplib", program: "python3", args: ftplib("unwrap"), freshData: true},
	{name: "ftplib without unwrap", program: "python3", args: ftplib("bare"), freshData: true, bare: true},
}

func curl(options ...string) func(*testServer, string, string) []string {
	return func(s *testServer, file, name string) []string {
		url := "ftp://" + s.explicit
		if options[0] == "" {
			url = "ftps://" + s.implicit
		}
		args := []string{"--silent", "--show-error", "--cacert", s.caFile, "--user", testUser + ":" + testPassword, "--upload-file", file, url + "/" + name}
		for _, o := range options {
			if o != "" {
				args = append(args, o)
			}
		}
		return args
	}
}

func lftp(settings string) func(*testServer, string, string) []string {
	return func(s *testServer, file, name string) []string {
		script := fmt.Sprintf(`set cmd:fail-exit yes; set net:max-retries 1; set ssl:ca-file %s;
			set ftp:ssl-force yes; set ftp:ssl-protect-data yes; %s
			open -u '%s,%s' ftp://%s; put %s -o %s; quit`, s.caFile, settings, testUser, testPassword, s.explicit, file, name)
		return []string{"--norc", "-c", script}
	}
}

// ftplibScript ends uploads as ftplib does, or as programs do that only close.
const ftplibScript = `
import ftplib, ssl, sys
ca, host, port, user, password, file, name, ending = sys.argv[1:]
client = ftplib.FTP_TLS(context=ssl.create_default_context(cafile=ca), timeout=60)
client.connect(host, int(port))
client.login(user, password)
client.prot_p()
with open(file, 'rb') as f:
    if ending == 'unwrap':
        client.storbinary('STOR ' + name, f)
    else:
        client.voidcmd('TYPE I')
        data = client.transfercmd('STOR ' + name)
        while chunk := f.read(8192):
            data.sendall(chunk)
        data.close()
        client.voidresp()
client.quit()
`

func ftplib(ending string) func(*testServer, string, string) []string {
	return func(s *testServer, file, name string) []string {
		host, port, _ := net.SplitHostPort(s.explicit)
		return []string{"-c", ftplibScript, s.caFile, host, port, testUser, testPassword, file, name, ending}
	}
}

// clientTimeout bounds one upload of a program.
const clientTimeout = 2 * time.Minute

// upload runs the program, and returns what it printed and its error.
func (c *client) upload(t testing.TB, s *testServer, file, name string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	cmd := c.command(ctx, t, s, file, name)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *client) command(ctx context.Context, t testing.TB, s *testServer, file, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, tlstest.Program(t, c.program), c.args(s, file, name)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C")
	return cmd
}

// Every client, every size, on a fast and on a slow disk: what the client takes for
// a success is there and whole, and every client succeeds.
func TestRealClientsLoseNothing(t *testing.T) {
	sizes := []int{1 << 10, 64 << 10, 1 << 20, 8 << 20}
	if testing.Short() {
		sizes = sizes[:3]
	}
	if *large {
		sizes = append(sizes, 64<<20)
	}
	disks := map[string]func(string) afero.Fs{"fast": nil, "slow": newSlowDisk}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			tlstest.Program(t, c.program)
			for _, disk := range []string{"fast", "slow"} {
				s := startServer(t, func(config *Config) {
					config.disk = disks[disk]
					config.AllowTruncated = c.bare
				})
				for _, size := range sizes {
					content := randomBytes(size)
					file := filepath.Join(t.TempDir(), "file")
					if err := os.WriteFile(file, content, 0o600); err != nil {
						t.Fatal(err)
					}
					lost, lies := 0, 0
					for run := range *runs {
						name := fmt.Sprintf("%d-%d", size, run)
						out, err := c.upload(t, s, file, name)
						whole := s.has(t, name) == sum(content)
						switch {
						case err != nil:
							lost++
							t.Errorf("%s disk, %d bytes: %v\n%s", disk, size, err, out)
						case !whole:
							lies++
							t.Errorf("%s disk, %d bytes: the client saw no failure, and the file is not whole", disk, size)
						}
						os.Remove(filepath.Join(s.root, name))
					}
					t.Logf("%s disk, %8d bytes: %d of %d lost, %d false successes", disk, size, lost, *runs, lies)
				}
			}
		})
	}
}

// A client that ends uploads without close_notify is told so, unless that is
// allowed.
func TestClientsWithoutCloseNotifyAreToldSo(t *testing.T) {
	content := randomBytes(100_000)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if !c.bare {
			continue
		}
		s := startServer(t, nil)
		out, err := c.upload(t, s, file, "name")
		if err == nil || !strings.Contains(out, "550") || !strings.Contains(out, "truncated: the data connection ended without close_notify") {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		if s.has(t, "name") != "" || s.has(t, "name.partial") != sum(content) {
			t.Errorf("%s: the file is not kept as .partial", c.name)
		}
	}
}
