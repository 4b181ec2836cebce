package tlsstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	utls "github.com/refraction-networking/utls"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A resumer connects twice, reads to the end both times, and offers the second time the session that the first gave it.
type resumer struct {
	name    string
	prepare func(*testing.T) func(ctx context.Context, id *identity, port string, version uint16) error
	retries int  // gnutls-cli waits for a ticket only so long, and then leaves without one: on a busy machine too early
	tls13   bool // not with TLS 1.2: utls's Chrome, and gnutls-cli, which leaves then before it has read
}

var resumers = []resumer{
	{name: "s_client", prepare: resumeSClient},
	{name: "gnutls-cli", prepare: resumeGnuTLS, tls13: true, retries: 3},
	{name: "python", prepare: resumePython},
	{name: "go", prepare: resumeGo},
	{name: "utls", prepare: resumeUTLS, tls13: true},
}

// Tickets that wait still arrive: with the server's first write, when it asks for it, or at the latest with its
// close_notify.
func TestTicketsResumeInRealClients(t *testing.T) {
	id := newIdentity(t, smallClient)
	releases := []struct {
		name    string
		release func(secureConn) error
	}{
		{"write", func(conn secureConn) error { _, err := conn.Write(pattern(10)); return err }},
		{"flush", func(conn secureConn) error { return tlsstream.FlushTickets(conn) }},
		{"close", func(secureConn) error { return nil }},
	}
	for _, resumer := range resumers {
		t.Run(resumer.name, func(t *testing.T) {
			resume := resumer.prepare(t)
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				if resumer.tls13 && version != tls.VersionTLS13 {
					continue
				}
				for _, stack := range ourStacks {
					for _, r := range releases {
						name := fmt.Sprintf("version=%s/stack=%s/release=%s", tls.VersionName(version), stack.name, r.name)
						t.Run(name, func(t *testing.T) {
							err := resumeOnce(t, id, stack, resume, version, r.release)
							for range resumer.retries {
								if err == nil {
									break
								}
								t.Logf("once more, since %s may have left too early: %v", resumer.name, err)
								err = resumeOnce(t, id, stack, resume, version, r.release)
							}
							if err != nil {
								t.Error(err)
							}
						})
					}
				}
			}
		})
	}
}

type resumeFunc func(ctx context.Context, id *identity, port string, version uint16) error

// resumeOnce lets a client connect twice.
func resumeOnce(t *testing.T, id *identity, stack stack, resume resumeFunc, version uint16, release func(secureConn) error) error {
	ctx, cancel := context.WithTimeout(t.Context(), realTimeout)
	defer cancel()
	server, err := serve(ctx, stack, id.serverConfig(false), nil)
	if err != nil {
		return err
	}
	client := make(chan error, 1)
	go func() {
		client <- resume(ctx, id, server.port, version)
		server.stop() // a failed client leaves it waiting
	}()
	var errs []error
	for _, want := range []bool{false, true} {
		conn, err := server.handshake()
		if err != nil {
			errs = append(errs, err)
			break
		}
		if got := conn.ConnectionState(); got.DidResume != want || got.Version != version {
			errs = append(errs, fmt.Errorf("DidResume = %v, want %v; version %s", got.DidResume, want, tls.VersionName(got.Version)))
		}
		if err := release(conn); err != nil {
			errs = append(errs, err)
		}
		// gnutls-cli may be gone by now: it leaves as soon as it has a ticket.
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	return errors.Join(append(errs, <-client)...)
}

func resumeSClient(t *testing.T) func(context.Context, *identity, string, uint16) error {
	openssl := tlstest.Program(t, "openssl")
	dir := t.TempDir()
	return func(ctx context.Context, id *identity, port string, version uint16) error {
		session := filepath.Join(dir, "session-"+port)
		args := []string{"s_client", "-connect", "127.0.0.1:" + port, "-servername", "localhost", "-CAfile", id.caFile,
			"-verify_return_error", "-ign_eof", map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}[version]}
		if err := run(ctx, openssl, append(args, "-sess_out", session)...); err != nil {
			return err
		}
		if _, err := os.Stat(session); err != nil {
			return err
		}
		return run(ctx, openssl, append(args, "-sess_in", session)...)
	}
}

func resumeGnuTLS(t *testing.T) func(context.Context, *identity, string, uint16) error {
	gnutls := tlstest.Program(t, "gnutls-cli")
	return func(ctx context.Context, id *identity, port string, version uint16) error {
		priority := map[uint16]string{tls.VersionTLS12: "TLS1.2", tls.VersionTLS13: "TLS1.3"}[version]
		cmd := command(ctx, gnutls, "--resume", "--x509cafile", id.caFile, "--sni-hostname", "localhost", "--verify-hostname", "localhost",
			"--priority", "NORMAL:-VERS-ALL:+VERS-"+priority, "--port", port, "127.0.0.1")
		if _, err := cmd.StdinPipe(); err != nil { // it leaves when its input ends; this one ends with the program
			return err
		}
		out, err := cmd.CombinedOutput()
		return programError(gnutls, out, err)
	}
}

func resumePython(t *testing.T) func(context.Context, *identity, string, uint16) error {
	python := pythonPath(t)
	return func(ctx context.Context, id *identity, port string, version uint16) error {
		name := map[uint16]string{tls.VersionTLS12: "TLSv1_2", tls.VersionTLS13: "TLSv1_3"}[version]
		return run(ctx, python, "testdata/resume.py", port, id.caFile, name)
	}
}

func resumeGo(*testing.T) func(context.Context, *identity, string, uint16) error {
	return func(ctx context.Context, id *identity, port string, version uint16) error {
		config := id.ca.ClientConfig()
		config.MaxVersion = version
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		return readTwice(ctx, port, func(conn net.Conn) net.Conn { return tls.Client(conn, config) })
	}
}

func resumeUTLS(*testing.T) func(context.Context, *identity, string, uint16) error {
	return func(ctx context.Context, id *identity, port string, version uint16) error {
		config := &utls.Config{RootCAs: id.ca.Pool(), ServerName: "localhost", OmitEmptyPsk: true,
			ClientSessionCache: utls.NewLRUClientSessionCache(1)}
		return readTwice(ctx, port, func(conn net.Conn) net.Conn {
			return utls.UClient(conn, config, utls.HelloChrome_115_PQ_PSK)
		})
	}
}

func readTwice(ctx context.Context, port string, client func(net.Conn) net.Conn) error {
	for range 2 {
		raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { raw.Close() })
		conn := client(raw)
		_, err = io.Copy(io.Discard, conn)
		conn.Close()
		stop()
		if err != nil {
			return err
		}
	}
	return nil
}
