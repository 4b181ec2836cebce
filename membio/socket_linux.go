package membio

import "syscall"

// msgMore makes the kernel keep a part of a segment for what comes next: at most
// 200 ms, says tcp(7).
const msgMore = syscall.MSG_MORE
