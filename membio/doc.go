// Package membio keeps bytes between an application and a transport, in
// bounded memory and without goroutines. It knows nothing of TLS.
//
//   - [Buffer] is a bounded queue of bytes, for one that must keep what cannot
//     leave yet. It is empty for free: its chunks come from a shared pool.
//   - [Conn] is a net.Conn over another, for a layer that reads ahead of its
//     reader, or that has output which must wait for the next write. It adds
//     nothing to the stream and no system call.
//   - [Pipe] makes a connected pair in memory with TCP's rules: kernel buffers
//     of any size down to none, half-close, FIN and RST. It is for tests that
//     net.Pipe is too simple for and the loopback interface too forgiving. With
//     testing/synctest its deadlines run in virtual time.
//
// # Limits
//
// Buffers are not wiped after use. A [Conn] puts no limit to the output that is
// queued in it; its owner does. A [Pipe] models what a program can observe
// through TCP sockets of Linux, not packets: nothing is lost or late, and a
// window opens as soon as the reader has taken bytes.
package membio
