// Package probe looks at someone else's TLS 1.3 server from outside, and tells whether clients that only write are safe
// with it.
//
// A client that never reads is harmed by what the server's TLS sends on its own account: the client closes, its kernel
// finds unread bytes, sends RST in place of FIN, and drops what it had still queued. So the probe shakes hands, as the
// chosen client would, takes over the traffic keys, and from there on plays a script: it sends one thing at a time, and
// after each notes for a while which records come, and when.
//
// Four short connections, one after the other, since some servers take only one:
//
//  1. Tickets and the end of the stream. The Finished message is held back at first, so that a ticket in the server's
//     first flight is told from one after it. Then Finished, then the first bytes of the protocol, then close_notify.
//  2. KeyUpdate(update_requested), and if nothing answers it the first bytes, to give the server something to write.
//  3. Half of the first bytes, and FIN without close_notify.
//  4. crypto/tls takes a ticket, and comes back with it; the fifth connection.
//
// That nothing came can only be told by waiting. Options.Wait is how long.
package probe
