package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// syslogLines is how many lines rsyslog sends. They fit the kernel's buffers: what is lost, rsyslog has handed over.
const syslogLines = 3000

// rsyslogConfig forwards the lines of a file by TLS 1.3 and writes each that it has handed over into another: the actions
// of one ruleset are carried out in turn.
const rsyslogConfig = `
global(workDirectory="%DIR%" defaultNetstreamDriver="%DRIVER%" defaultNetstreamDriverCAFile="%CA%")
module(load="imfile")
template(name="line" type="string" string="%msg%\n")
input(type="imfile" file="%DIR%/lines" tag="integration:" ruleset="forward" freshStartTail="off")
ruleset(name="forward") {
	action(type="omfwd" target="127.0.0.1" port="%PORT%" protocol="tcp" template="line"
		streamDriver="%DRIVER%" streamDriverMode="1" streamDriverAuthMode="x509/name" streamDriverPermittedPeers="localhost"
		gnutlsPriorityString="%PRIORITY%")
	action(type="omfile" file="%DIR%/handed" template="line" flushOnTXEnd="on")
}
`

// A syslogDriver is a TLS library of rsyslog's, and how it is made to speak TLS 1.3.
type syslogDriver struct {
	name, module, priority string
	loses                  bool // for certain, with crypto/tls alone
}

var syslogDrivers = []syslogDriver{
	{"gtls", "lmnsd_gtls.so", "NORMAL:-VERS-ALL:+VERS-TLS1.3", true},
	{"ossl", "lmnsd_ossl.so", "MinProtocol=TLSv1.3", false},
}

// send starts rsyslogd, and ends it in order when it has handed over all lines.
func (d syslogDriver) send(t *testing.T, addr string, want []byte) {
	t.Helper()
	path := tlstest.Program(t, "rsyslogd")
	if found, _ := filepath.Glob("/usr/lib/*/rsyslog/" + d.module); len(found) == 0 {
		tlstest.Missing(t, "rsyslog has no %s", d.module)
	}
	dir := t.TempDir()
	ca, _, _, err := testCA.WriteFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	config := strings.NewReplacer("%DIR%", dir, "%CA%", ca, "%PORT%", port, "%DRIVER%", d.name, "%PRIORITY%", d.priority).
		Replace(rsyslogConfig)
	for name, content := range map[string][]byte{"config": []byte(config), "lines": want} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := launch(t, nil, path, "-n", "-iNONE", "-f", filepath.Join(dir, "config"))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(testTimeout)
	for handed := []byte(nil); !bytes.Equal(handed, want); handed, _ = os.ReadFile(filepath.Join(dir, "handed")) {
		select {
		case <-tick.C:
		case <-p.ended:
			t.Fatal("rsyslogd ended: ", p.err)
		case <-timeout:
			t.Fatalf("rsyslogd has handed over %d of %d bytes", len(handed), len(want))
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal("rsyslogd: ", err)
	}
}

// A syslogSink is what a server got.
type syslogSink struct {
	got []byte
	err error
}

// receiveSyslog accepts one connection, of TLS if there is a configuration, and reads it when rsyslogd has gone: the
// slowest sink there is.
func receiveSyslog(l net.Listener, config *tls.Config, gone <-chan struct{}) (s syslogSink) {
	defer time.AfterFunc(2*testTimeout, func() { l.Close() }).Stop()
	var c net.Conn
	if c, s.err = l.Accept(); s.err != nil {
		return s
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * testTimeout))
	if config != nil {
		conn := tls.Server(c, config)
		if s.err = conn.Handshake(); s.err != nil {
			return s
		}
		c = conn
	}
	<-gone
	s.got, s.err = io.ReadAll(c)
	return s
}

// A syslogService is where rsyslogd sends to: it returns the address, and what receives one connection there.
type syslogService func(*testing.T, layer) (addr string, receive func(gone <-chan struct{}) syslogSink)

// run has rsyslogd send the lines to a service, and returns what that got.
func (d syslogDriver) run(t *testing.T, layer layer, service syslogService, want []byte) syslogSink {
	t.Helper()
	addr, receive := service(t, layer)
	gone, sink := make(chan struct{}), make(chan syslogSink, 1)
	go func() { sink <- receive(gone) }()
	func() {
		defer close(gone)
		d.send(t, addr, want)
	}()
	return <-sink
}

// syslogTLS returns a server's configuration that takes nothing older than TLS 1.3.
func syslogTLS() *tls.Config {
	config := testCA.ServerConfig()
	config.MinVersion = tls.VersionTLS13
	return config
}

// testSyslog demands that all lines arrive at a service over our layer, and that with crypto/tls alone some are lost.
func testSyslog(t *testing.T, service syslogService) {
	var lines bytes.Buffer
	for i := range syslogLines {
		fmt.Fprintf(&lines, "line %4d %s\n", i, strings.Repeat("x", 100))
	}
	want := lines.Bytes()
	for _, driver := range syslogDrivers {
		for _, layer := range layers {
			t.Run(driver.name+"/"+layer.name, func(t *testing.T) {
				bad := 0
				var lost []string
				for range *runs {
					s := driver.run(t, layer, service, want)
					if len(s.got) == 0 {
						t.Error("nothing arrived, not even what came before rsyslogd went: ", s.err)
					}
					n := syslogLines - bytes.Count(s.got, []byte("\n"))
					if n > 0 {
						bad++
					}
					lost = append(lost, strconv.Itoa(n))
					if layer.defers && (s.err != nil || !bytes.Equal(s.got, want)) {
						t.Errorf("%d lines lost, %v", n, s.err)
					}
				}
				t.Logf("%d of %d runs lost lines, of %d: %s", bad, *runs, syslogLines, strings.Join(lost, " "))
				if !layer.defers && driver.loses && bad == 0 {
					t.Error("blind: the control lost nothing")
				}
			})
		}
	}
}

// rsyslog never reads from the servers that it sends to, and ends with 0 whatever they got. With crypto/tls alone at the
// server most of what it handed over is lost; over our layer nothing.
func TestSyslogLinesArrive(t *testing.T) {
	testSyslog(t, func(t *testing.T, layer layer) (string, func(<-chan struct{}) syslogSink) {
		l, config := layer.listener(listenSmall(t, 64<<10)), layer.config(syslogTLS())
		return l.Addr().String(), func(gone <-chan struct{}) syslogSink { return receiveSyslog(l, config, gone) }
	})
}

// listenSmall listens with a receive buffer of that size in bytes.
func listenSmall(t *testing.T, size int) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if ctl := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, size)
		}); ctl != nil {
			return ctl
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
