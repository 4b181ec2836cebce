package proxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// undelivered reports whether the peer's kernel lacks a part of what was written
// to conn, and may yet take it; and how many bytes it has taken.
func undelivered(conn *net.TCPConn) (pending bool, taken uint64) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, 0
	}
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.State != unix.BPF_TCP_CLOSE {
			pending = info.Unacked > 0 || info.Notsent_bytes > 0
			taken = info.Bytes_acked
		}
	})
	return pending && err == nil, taken
}
