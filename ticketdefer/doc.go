// Package ticketdefer goes below a TLS connection and holds back what TLS 1.3
// sends on its own account after the handshake, until the application writes,
// closes or asks for it: the server's NewSessionTicket (RFC 8446 4.6.1) and the
// answers to a peer's KeyUpdate (4.6.3).
//
// Without it a client that only writes never reads those records; when it closes,
// its kernel finds unread bytes, sends RST in place of FIN, and throws away what
// it had not sent yet. And a ticket that does not fit the socket buffers blocks
// both sides for ever.
//
// # Which function to call
//
// Where you call crypto/tls yourself, use package tlsstream: its Listener and
// Dialer set everything up. Where a library calls tls.Server or tls.NewListener,
// give it both of these:
//
//	listener = ticketdefer.WrapListener(listener)
//	config = ticketdefer.WrapConfig(config)
//
// For forks of crypto/tls that have a Config type of their own, such as utls, use
// WrapConn or WrapListener, and set the Config's KeyLogWriter to the result of
// [KeyLogWriter].
//
// # How it knows what is what
//
// On the wire all records of TLS 1.3 look alike. A [Gate] opens the connection's
// outbound records with the connection's own traffic secret, which crypto/tls
// hands out through Config.KeyLogWriter. The documentation of that field warns
// that its use compromises security, because people write the lines to files.
// Here a secret goes from crypto/tls to the layer of the same connection, in the
// same process; it is never logged and never part of an error, the layer's copies
// are overwritten when the connection closes, and a line that no connection of
// this package claims is dropped (unless the Config had a KeyLogWriter of its own,
// which still gets every line). It is the one public way to learn a record's type.
//
// # Limits
//
// A plain *tls.Conn above a [Conn] does its own I/O: a Read that has to answer a
// KeyUpdate waits while a Write is blocked in the transport, and a Write that times
// out is final. The streams of package tlsstream have neither limit.
//
// When GODEBUG=fips140=only forbids the AEADs with nonces of our own, on TLS 1.2,
// and for connections whose secrets never arrive, everything passes as if the
// layer were not there, and [Stats] says why.
package ticketdefer
