// Package get downloads a file over TLS so that it is whole, or an error.
//
// What arrives goes to NAME.partial, beside the target. It gets its name only after an end that TLS vouches for: the whole
// Content-Length, the last chunk, or, for a response with neither, close_notify. All else is an [*Error] that says
// why: an alert with the server's reason, a stream that was cut, a connection that was lost.
//
// # What is on the disk
//
// NAME.partial holds the bytes, and NAME.partial.json tells which representation they belong to, by a strong
// validator, and how many are safely on the disk. The order of writes keeps the two in step whenever the process or the
// machine dies: the description is removed before the bytes of another representation are written, and a number of bytes
// is written down after they were synced. Without a description the bytes count for nothing. The one who works on the
// partial file has a lock on it.
//
// # A file and its detached signature
//
// They are two requests, and a repository may be changed between them, or a cache may have an old one of the two. If
// they do not match, both are fetched again, in ways that get past more and more caches: see pair.go.
package get
