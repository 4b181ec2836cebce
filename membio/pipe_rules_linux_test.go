// Two ports have socketcall(2) in place of getsockopt(2).
//go:build !386 && !s390x

package membio

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// From include/net/tcp_states.h.
const (
	tcpTimeWait  = 6
	tcpClose     = 7
	tcpCloseWait = 8
	tcpLastAck   = 9
	tcpClosing   = 11
)

func init() {
	subjects["linux"] = func(t *testing.T) subject {
		a, b := tcpPair(t)
		for _, c := range []*net.TCPConn{a, b} {
			c.SetReadBuffer(32 << 10)
			c.SetWriteBuffer(32 << 10)
		}
		return subject{
			a:      a,
			b:      b,
			unread: func(c halfCloser) int { return kernelUnread(t, c.(*net.TCPConn)) },
			seesFIN: func(c halfCloser) bool {
				switch kernelState(t, c.(*net.TCPConn)) {
				case tcpTimeWait, tcpClose, tcpCloseWait, tcpLastAck, tcpClosing:
					return true
				}
				return false
			},
			seesReset: func(c halfCloser) bool { return kernelState(t, c.(*net.TCPConn)) == tcpClose },
			await: func(condition func() bool) bool {
				// The kernel tells of no such event, so this has to ask.
				for deadline := time.Now().Add(time.Minute); !condition(); runtime.Gosched() {
					if time.Now().After(deadline) {
						return false
					}
				}
				return true
			},
		}
	}
}

// kernelUnread is SIOCINQ of tcp(7): the bytes in the receive queue.
func kernelUnread(t *testing.T, c *net.TCPConn) int {
	var n int32
	control(t, c, func(fd uintptr) syscall.Errno {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
		return errno
	})
	return int(n)
}

// kernelState is tcpi_state, the first byte of TCP_INFO.
func kernelState(t *testing.T, c *net.TCPConn) byte {
	var info [256]byte
	size := uint32(len(info))
	control(t, c, func(fd uintptr) syscall.Errno {
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		return errno
	})
	return info[0]
}

func control(t *testing.T, c *net.TCPConn, call func(fd uintptr) syscall.Errno) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) { errno = call(fd) }); err != nil {
		t.Fatal(err)
	}
	if errno != 0 {
		t.Fatal(errno)
	}
}
