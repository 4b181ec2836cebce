package integration

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/jlaffaye/ftp"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// dialFTPS connects to a server with AUTH TLS, so that jlaffaye/ftp makes the control connection's TLS itself, and our
// dialer that of the data connections. A stream's Close waits until the server has read what was uploaded; a client
// without it closes on top of the server's unread tickets. Config needs a ClientSessionCache if the server wants data
// connections to resume the control connection's session.
func dialFTPS(addr string, config *tls.Config) (*ftp.ServerConn, error) {
	config = ticketdefer.WrapConfig(config)
	control := true
	return ftp.Dial(addr, ftp.DialWithExplicitTLS(config), ftp.DialWithDialFunc(func(network, addr string) (net.Conn, error) {
		conn, err := net.Dial(network, addr)
		if err != nil {
			return nil, err
		}
		if control {
			control = false
			return ticketdefer.WrapConn(conn), nil
		}
		// Its handshake is made by the first Write: servers begin it only when they have read STOR.
		return tlsstream.Client(conn, config), nil
	}))
}

// An upload over FTPS with jlaffaye/ftp.
func Example_ftp() {
	client, err := dialFTPS("ftp.example.com:21", &tls.Config{
		ServerName:         "ftp.example.com",
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Quit()
	if err := client.Login("alice", "secret"); err != nil {
		log.Fatal(err)
	}
	if err := client.Stor("backup.tar", os.Stdin); err != nil {
		log.Fatal(err)
	}
}

// vsftpd runs until the test ends. It reads slowly, as a server with a slow disk does: 2 MiB/s. By default it wants data
// connections to resume the control connection's session. The user is one that has a home on every Debian.
func vsftpd(t *testing.T) (addr, home string) {
	t.Helper()
	path := tlstest.Program(t, "vsftpd")
	if os.Getuid() != 0 {
		tlstest.Missing(t, "vsftpd runs as root only")
	}
	dir := t.TempDir()
	home = filepath.Join(dir, "pub")
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Mkdir(home, 0o777), os.Chmod(home, 0o777)); err != nil {
		t.Fatal(err)
	}
	return server{path: path, args: []string{"%DIR%/config"}, config: `listen=YES
listen_address=127.0.0.1
listen_port=%PORT%
background=NO
anonymous_enable=YES
ftp_username=daemon
anon_umask=022
no_anon_password=YES
anon_root=%DIR%
anon_upload_enable=YES
anon_other_write_enable=YES
write_enable=YES
anon_max_rate=2097152
pasv_address=127.0.0.1
ssl_enable=YES
allow_anon_ssl=YES
force_anon_data_ssl=YES
ssl_tlsv1=YES
ssl_ciphers=HIGH
rsa_cert_file=%CERT%
rsa_private_key_file=%KEY%
secure_chroot_dir=%DIR%
seccomp_sandbox=NO
`}.start(t, dir), home
}

// jlaffaye/ftp writes, closes, and never reads a data connection: with crypto/tls alone that costs the upload its end,
// and Stor may say so or not. With our dialer it arrives whole, tickets on, sessions reused.
func TestFTPUploadArrivesWhole(t *testing.T) {
	upload := make([]byte, 2<<20)
	rand.NewChaCha8([32]byte{}).Read(upload)
	for _, test := range []struct {
		name string
		dial func(addr string, config *tls.Config) (*ftp.ServerConn, error)
		lost bool
	}{
		{"stock", func(addr string, config *tls.Config) (*ftp.ServerConn, error) {
			return ftp.Dial(addr, ftp.DialWithExplicitTLS(config))
		}, true},
		{"ours", dialFTPS, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr, home := vsftpd(t)
			client, err := test.dial(addr, resumable(testCA))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Quit()
			if err := client.Login("anonymous", "anonymous"); err != nil {
				t.Fatal(err)
			}
			lost := 0
			for i := range *runs {
				name := fmt.Sprintf("pub/upload%d", i)
				says := client.Stor(name, bytes.NewReader(upload))
				got, err := os.ReadFile(filepath.Join(home, filepath.Base(name)))
				if err != nil {
					t.Fatal(says, err)
				}
				if !bytes.Equal(got, upload) {
					lost++
				}
				if !test.lost && says != nil {
					t.Error(says)
				}
				t.Logf("%d of %d bytes, Stor says %v", len(got), len(upload), says)
			}
			t.Logf("%d of %d uploads lost bytes", lost, *runs)
			if (lost > 0) != test.lost {
				t.Errorf("%d of %d uploads lost bytes", lost, *runs)
			}
		})
	}
}
