package membio

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func tcpInfo(t *testing.T, c *net.TCPConn) (info *unix.TCPInfo) {
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

// TestMoreIsJoined: ten writes that say that more follows are one segment, or a few if the
// machine pauses for the 200 ms after which a kernel sends by itself.
func TestMoreIsJoined(t *testing.T) {
	segments := func(more bool) uint32 {
		a, _ := tcpPair(t)
		s := SocketOf(a)
		for i := range 10 {
			if k, err := s.TryWrite(pattern(100), more && i < 9); k != 100 || err != nil {
				t.Fatal(k, err)
			}
		}
		if n := tcpInfo(t, a).Notsent_bytes; n != 0 {
			t.Errorf("%d bytes are kept, though the last write said that none follow", n)
		}
		return tcpInfo(t, a).Data_segs_out
	}
	if n := segments(true); n > 3 {
		t.Errorf("ten writes left in %d segments, want one", n)
	}
	if n := segments(false); n != 10 {
		t.Errorf("ten writes that say nothing left in %d segments, want 10: the control shows nothing", n)
	}
}
