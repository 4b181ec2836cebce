package tlsstream_test

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A Write leaves as a whole, with no byte kept back for more that never comes, and its
// records share segments: crypto/tls sends one for each.
func TestWriteLeavesAtOnceInFewSegments(t *testing.T) {
	for name, s := range map[string]func(net.Conn) secureConn{
		"stock": func(c net.Conn) secureConn { return stockStack.client(c, endCA.ClientConfig()) },
		"Conn":  func(c net.Conn) secureConn { return tlsstream.Client(c, endCA.ClientConfig()) },
		"OwnRecords": func(c net.Conn) secureConn {
			return (&tlsstream.Options{OwnRecords: true}).Client(c, endCA.ClientConfig())
		},
	} {
		t.Run(name, func(t *testing.T) {
			x, y := tlstest.TCPPair(t)
			client, server := s(x), tlsstream.Server(y, endCA.ServerConfig())
			if err := handshakeBoth(client, server); err != nil {
				t.Fatal(err)
			}
			// The first records are short; 2 and 5 bytes make records that look like alerts
			// and KeyUpdates.
			for _, size := range []int{1, 2, 5, 100, 5000, 16 << 10, 16<<10 + 1, 256 << 10, 1, 2, 5, 16 << 10, 16<<10 + 1, 16<<10 + 2, 64 << 10, 65_000, 70_000} {
				before := segmentsOut(t, x).Data_segs_out
				if n, err := client.Write(make([]byte, size)); n != size || err != nil {
					t.Fatal(n, err)
				}
				after := segmentsOut(t, x)
				if after.Notsent_bytes != 0 && size <= 70_000 { // more waits for the window
					t.Errorf("%d bytes of a Write of %d are kept back", after.Notsent_bytes, size)
				}
				if _, err := io.ReadFull(server, make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				if segments := int(after.Data_segs_out - before); name != "stock" && size == 64<<10 && segments > 3 {
					t.Errorf("a Write of 64 KiB left in %d segments", segments)
				} else if name == "stock" && size == 64<<10 && segments < 4 {
					t.Errorf("stock needed %d segments: the control shows nothing", segments)
				}
			}
		})
	}
}

func segmentsOut(t *testing.T, c *net.TCPConn) (info *unix.TCPInfo) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil {
		t.Fatal(err)
	}
	return info
}
