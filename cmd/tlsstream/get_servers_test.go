package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// getServers are programs that people have, serving the folder of their certificates.
var getServers = []struct {
	name  string
	start func(t *testing.T, folder string) (port string)
	// resumes tells whether it sends ranges and validators.
	resumes bool
	ending  string
}{
	{"python3 http.server", startPython, false, "content-length"},
	{"nginx", startNginx, true, "content-length"},
	{"openssl s_server -WWW", startOpenSSL, false, "close-notify"},
}

// A download from each is whole, and one that a dead run has left half done becomes whole.
func TestGetFromRealServers(t *testing.T) {
	for _, server := range getServers {
		t.Run(server.name, func(t *testing.T) {
			folder := t.TempDir()
			ca, _, _, err := getCA.WriteFiles(folder)
			if err != nil {
				t.Fatal(err)
			}
			content := strings.Repeat("0123456789abcde\n", 100_000)
			if err := os.WriteFile(filepath.Join(folder, "file.txt"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			longAgo := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
			if err := os.Chtimes(filepath.Join(folder, "file.txt"), longAgo, longAgo); err != nil {
				t.Fatal(err)
			}
			address := "https://localhost:" + server.start(t, folder) + "/file.txt"
			target := t.TempDir()
			name := filepath.Join(target, "file")

			status, stdout, stderr := getProgram(t, "--json", "--ca", ca, "--output", name, address)
			if status != 0 || !strings.Contains(stdout, fmt.Sprintf(`"ending": %q`, server.ending)) {
				t.Fatalf("exit status %d\n%s%s", status, stdout, stderr)
			}
			wantContent(t, name, content)
			wantFiles(t, target, "file")

			// Behind a relay that cuts the connection in the middle.
			relayed := "https://localhost:" + startCutter(t, strings.Split(strings.TrimPrefix(address, "https://"), "/")[0]) + "/file.txt"
			name = filepath.Join(target, "relayed")
			status, _, stderr = getProgram(t, "--ca", ca, "--output", name, relayed)
			if status != 5 || !strings.Contains(stderr, "the stream was cut after ") {
				t.Errorf("exit status %d\n%s", status, stderr)
			}
			if _, err := os.Stat(name); err == nil {
				t.Error("a part of the file has its name")
			}
			status, stdout, stderr = getProgram(t, "--json", "--ca", ca, "--output", name, relayed)
			if status != 0 {
				t.Fatalf("exit status %d\n%s", status, stderr)
			}
			wantContent(t, name, content)
			if resumed := !strings.Contains(stdout, `"resumed_at": 0,`); resumed != server.resumes {
				t.Errorf("resumed: %v, want %v\n%s", resumed, server.resumes, stderr)
			}
			status, _, stderr = getProgram(t, "--ca", ca, "--output", name+"2", address+".none")
			if status != 4 && server.ending != "close-notify" { // s_server has no statuses
				t.Errorf("a file that is not there: exit status %d\n%s", status, stderr)
			}
		})
	}
}

// cutAfter is how much of the first response startCutter lets through.
const cutAfter = 500_000

// startCutter relays to a server, and ends the first connection in its middle, as a box that is switched off in good order.
func startCutter(t *testing.T, server string) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for limit := int64(cutAfter); ; limit = 1 << 30 {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			up := make(chan struct{})
			go func() {
				defer close(up)
				io.Copy(upstream, client)
				upstream.(*net.TCPConn).CloseWrite()
			}()
			io.CopyN(client, upstream, limit)
			client.(*net.TCPConn).CloseWrite()
			<-up
			client.Close()
			upstream.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startProgram runs a server until the end of the test. It waits for a line of its output that tells that it is ready, and
// returns the group in it.
func startProgram(t *testing.T, cmd *exec.Cmd, line *regexp.Regexp) (group string) {
	t.Helper()
	output, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	found := make(chan string, 1)
	ended := make(chan struct{})
	var said bytes.Buffer
	go func() {
		defer close(ended)
		defer close(found)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			fmt.Fprintln(&said, lines.Text())
			if m := line.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case found <- m[1]:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		<-ended
		output.Close()
	})
	select {
	case group = <-found:
	case <-time.After(30 * time.Second):
	}
	if group == "" {
		cmd.Process.Kill()
		<-ended
		t.Fatalf("%v does not start:\n%s", cmd.Args, &said)
	}
	return group
}

const pythonServer = `
import http.server, ssl, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server-key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print("port", server.server_address[1], flush=True)
server.serve_forever()
`

func startPython(t *testing.T, folder string) string {
	cmd := exec.Command(tlstest.Program(t, "python3"), "-c", pythonServer)
	cmd.Dir = folder
	return startProgram(t, cmd, regexp.MustCompile(`^port (\d+)$`))
}

func startOpenSSL(t *testing.T, folder string) string {
	cmd := exec.Command(tlstest.Program(t, "openssl"), "s_server", "-WWW", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server-key.pem")
	cmd.Dir = folder
	return startProgram(t, cmd, regexp.MustCompile(`^ACCEPT 127\.0\.0\.1:(\d+)$`))
}

const nginxConf = `
daemon off; master_process off; error_log stderr notice; pid nginx.pid;
events {}
http {
	access_log off;
	client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
	server {
		listen 127.0.0.1:%s ssl;
		ssl_certificate server.pem;
		ssl_certificate_key server-key.pem;
		root .;
	}
}
`

func startNginx(t *testing.T, folder string) string {
	nginx := tlstest.Program(t, "nginx")
	// nginx does not tell which port it got: it is given one that was free just now.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	conf := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, strings.ReplaceAll(nginxConf, "root .", "root "+folder), port), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, exec.Command(nginx, "-p", folder, "-c", conf), regexp.MustCompile(`using the "(epoll|kqueue|poll|select)" event method`))
	return port
}

// What GnuPG signs and exports is what this program verifies and reads.
func TestGetVerifiesGnuPG(t *testing.T) {
	gpg := tlstest.Program(t, "gpg")
	home, err := os.MkdirTemp("", "gpg") // t.TempDir is too long for the socket of its agent
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	sign := func(args ...string) {
		t.Helper()
		cmd := exec.Command(gpg, append([]string{"--homedir", home, "--batch", "--quiet", "--passphrase", ""}, args...)...)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, output)
		}
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
		os.RemoveAll(home)
	})
	ca, _, _, err := getCA.WriteFiles(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("repomd.xml"), []byte("<repomd/>\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sign("--quick-generate-key", "release <release@example.com>", "rsa3072", "sign", "never")
	sign("--armor", "--detach-sign", in("repomd.xml"))
	sign("--detach-sign", in("repomd.xml"))
	sign("--output", in("keys.asc"), "--armor", "--export")
	sign("--output", in("keys.gpg"), "--export")

	address := "https://localhost:" + startOpenSSL(t, folder)
	for _, c := range []struct{ keyring, signature string }{{"keys.asc", "repomd.xml.asc"}, {"keys.gpg", "repomd.xml.sig"}} {
		target := t.TempDir()
		status, stdout, stderr := getProgram(t, "--ca", ca, "--keyring", in(c.keyring), "--output", filepath.Join(target, "repomd.xml"),
			"--signature", address+"/"+c.signature, address+"/repomd.xml")
		if status != 0 || !strings.Contains(stdout, "a good signature of release <release@example.com>") {
			t.Errorf("exit status %d\n%s%s", status, stdout, stderr)
		}
		wantFiles(t, target, "repomd.xml", c.signature)
	}
}
