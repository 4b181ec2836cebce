package ftpd

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// verifyDelay is what a server takes that looks up its clients' certificates
// somewhere. Its ticket then comes when the client is in the middle of sending.
const verifyDelay = 300 * time.Millisecond

// A server that asks for client certificates sends its ticket late, and stock
// crypto/tls then makes clients that do not read lose their uploads. Our layer, in
// the same server, does not. The disk is slow, so that the client is done before
// the server.
func TestLateTicketLosesUploadsOnlyWithoutTheLayer(t *testing.T) {
	const size = 1 << 20
	content := randomBytes(size)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if !c.freshData || c.bare || c.program == "python3" {
			continue // python reads to the server's close_notify
		}
		for _, stock := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/stock=%v", c.name, stock), func(t *testing.T) {
				tlstest.Program(t, c.program)
				s := startServer(t, func(config *Config) {
					config.TLS.ClientAuth = tls.RequestClientCert
					config.TLS.VerifyConnection = func(tls.ConnectionState) error {
						time.Sleep(verifyDelay)
						return nil
					}
					config.disk = newSlowDisk
					if stock {
						config.layer = func(conn net.Conn) net.Conn { return conn }
					}
				})
				lost := 0
				for run := range *runs {
					name := fmt.Sprint(run)
					out, err := c.upload(t, s, file, name)
					whole := s.has(t, name) == sum(content)
					if (err == nil) != whole {
						t.Errorf("the client saw %v, and the file is whole: %v\n%s", err, whole, out)
					}
					if err == nil {
						continue
					}
					lost++
					if s.has(t, name) != "" {
						t.Error("a part of an upload has its name")
					}
					if !strings.Contains(s.log.String(), "connection reset by peer") {
						t.Errorf("lost, but not by a reset: %v\n%s", err, out)
					}
				}
				t.Logf("%d of %d lost", lost, *runs)
				if want := map[bool]int{true: *runs, false: 0}[stock]; lost != want {
					t.Errorf("%d of %d uploads were lost, want %d", lost, *runs, want)
				}
			})
		}
	}
}
