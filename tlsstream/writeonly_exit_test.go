package tlsstream_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// The environment of a process that uploads and exits.
const (
	exitAddr = "TLSSTREAM_TEST_UPLOAD_TO"
	exitSize = "TLSSTREAM_TEST_UPLOAD_SIZE"
	exitCA   = "TLSSTREAM_TEST_UPLOAD_CA"
	exitHow  = "TLSSTREAM_TEST_UPLOAD_WITH"
)

// uploadTo is the life of that process, but for the exit.
func uploadTo(addr string) error {
	size, err := strconv.Atoi(os.Getenv(exitSize))
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(os.Getenv(exitCA))
	if err != nil {
		return err
	}
	config := uploadConfig()
	config.RootCAs = x509.NewCertPool()
	config.RootCAs.AppendCertsFromPEM(pem)
	var c net.Conn
	switch how := os.Getenv(exitHow); how {
	case "tlsstream":
		c, err = tlsstream.Dial("tcp", addr, config)
	default:
		c, err = tls.Dial("tcp", addr, config)
	}
	if err != nil {
		return err
	}
	return writeOnly(c, size)
}

// A process that exits closes its sockets like any other: what its kernel holds
// is sent on, unless something lies unread.
func TestExitRightAfterCloseLosesNothing(t *testing.T) {
	if addr := os.Getenv(exitAddr); addr != "" {
		if err := uploadTo(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	ca, _, _, err := endCA.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ca, err = filepath.Abs(ca)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	test := t.Name()
	exits := func(how string) uploadClient {
		return func(addr string, size int) error {
			cmd := exec.Command(program, "-test.run=^"+test+"$")
			cmd.Env = append(os.Environ(), exitAddr+"="+addr, exitSize+"="+strconv.Itoa(size), exitCA+"="+ca, exitHow+"="+how)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%w: %s", err, &stderr)
			}
			return nil
		}
	}
	for _, sink := range uploadSinks() {
		t.Run(sink.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{64 << 10, 8 << 20} {
				if lost, why := sink.lost(t, exits("tlsstream"), size, *drainRuns); lost > 0 {
					t.Errorf("%d of %d uploads of %d lost bytes: %v", lost, *drainRuns, size, why)
				}
			}
			runs := (*drainRuns + 2) / 3
			lost, why := sink.lost(t, exits("stdlib"), 8<<20, runs)
			t.Logf("stdlib: %d of %d uploads lost bytes: %v", lost, runs, why)
			if lost == 0 {
				t.Error("the control lost nothing")
			}
		})
	}
}
