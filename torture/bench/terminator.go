package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Terminator is a program that speaks TLS with clients and plain TCP with a backend.
type Terminator struct {
	Name, About string

	// Program is looked for in PATH, and where servers are. Where there is none the terminator is skipped.
	Program string

	// Command returns the program's arguments. It may write files to Place.Dir.
	Command func(Place) ([]string, error)
}

// A Place is where a terminator stands. The files are PEM.
type Place struct {
	Port                       int    // of 127.0.0.1, to listen on
	Backend                    string // address to carry the connections to
	CertFile, KeyFile, PEMFile string // PEMFile is both in one
	Dir                        string // the terminator's own
}

// stdlibProxy is the terminator that others are compared with: [StockProxy], in a process of its own.
const stdlibProxy = "stdlib-proxy"

// suite is what all are compared with, and OpenSSL would not choose by itself.
const suite = "TLS_AES_128_GCM_SHA256"

// Terminators returns those built in, as their documentation says and with no more than they need. They have their
// defaults but for the cipher suite.
func Terminators() []Terminator {
	return []Terminator{
		{
			Name: "nginx", About: "nginx with its stream module, one process", Program: "nginx",
			Command: func(p Place) ([]string, error) {
				module, err := loadStream()
				if err != nil {
					return nil, err
				}
				config, err := p.write(module + `
daemon off;
master_process off;
pid %DIR%/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
stream {
	server {
		listen 127.0.0.1:%PORT% ssl;
		ssl_protocols TLSv1.3;
		ssl_conf_command Ciphersuites %SUITE%;
		ssl_certificate %CERT%;
		ssl_certificate_key %KEY%;
		proxy_pass %BACKEND%;
	}
}
`)
				return []string{"-p", p.Dir, "-c", config, "-e", "stderr"}, err
			},
		},
		{
			Name: "haproxy", About: "haproxy in TCP mode", Program: "haproxy",
			Command: func(p Place) ([]string, error) {
				config, err := p.write(`
defaults
	mode tcp
	timeout client 1m
	timeout server 1m
	timeout connect 5s
frontend front
	bind 127.0.0.1:%PORT% ssl crt %PEM% ssl-min-ver TLSv1.3 ciphersuites %SUITE%
	default_backend back
backend back
	server sink %BACKEND%
`)
				return []string{"-db", "-f", config}, err
			},
		},
		{
			Name: "stunnel4", About: "stunnel as a server", Program: "stunnel4",
			Command: func(p Place) ([]string, error) {
				config, err := p.write(`
foreground = yes
pid =
[front]
accept = 127.0.0.1:%PORT%
connect = %BACKEND%
cert = %CERT%
key = %KEY%
sslVersionMin = TLSv1.3
ciphersuites = %SUITE%
`)
				return []string{config}, err
			},
		},
	}
}

// write writes a configuration, and returns its name.
func (p Place) write(text string) (string, error) {
	fill := strings.NewReplacer("%CERT%", p.CertFile, "%KEY%", p.KeyFile, "%PEM%", p.PEMFile, "%DIR%", p.Dir,
		"%PORT%", fmt.Sprint(p.Port), "%BACKEND%", p.Backend, "%SUITE%", suite)
	name := filepath.Join(p.Dir, "config")
	return name, os.WriteFile(name, []byte(fill.Replace(text)), 0o600)
}

// loadStream is the directive that loads nginx's stream module, if it must be loaded.
func loadStream() (string, error) {
	nginx, err := findProgram("nginx")
	if err != nil {
		return "", err
	}
	out, err := exec.Command(nginx, "-V").CombinedOutput()
	if err != nil {
		return "", err
	}
	if !bytes.Contains(out, []byte("--with-stream=dynamic")) {
		if !bytes.Contains(out, []byte("--with-stream")) {
			return "", errors.New("this nginx has no stream module")
		}
		return "", nil
	}
	_, after, _ := bytes.Cut(out, []byte("--modules-path="))
	folder, _, _ := bytes.Cut(after, []byte(" "))
	module := filepath.Join(string(folder), "ngx_stream_module.so")
	if _, err := os.Stat(module); err != nil {
		return "", errors.New("nginx's stream module is not installed")
	}
	return "load_module " + module + ";", nil
}

// findProgram also looks where servers are, which is often not in a user's PATH.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if err != nil && !filepath.IsAbs(name) {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s is not installed", name)
	}
	return path, nil
}
