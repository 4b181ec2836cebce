// Package tlsstream provides TLS streams that never write out of turn: crypto/tls
// with the rule that the TLS layer writes to the transport only when the
// application writes, closes or aborts.
//
// TLS 1.3 servers send session tickets after the handshake, and either side
// answers the other's KeyUpdates. Those are writes that no application asked for.
// A client that only writes (an FTPS upload, a log sender) never reads them, and
// loses data to a TCP RST when it closes; where socket buffers are small, both
// sides can block for ever. Here such records wait for the application's next
// write and leave with it, so a TLS stream resets and blocks where plain TCP would
// have, and nowhere else.
//
// # Which function to call
//
// For servers that take a net.Listener, such as net/http, use [NewListener] or
// [Listen]: Accept returns a *tls.Conn, so everything that works with crypto/tls
// works. For clients, http.Transport included, use [Dialer].
//
// For the most robust stream, use [Conn]: [Listener.AcceptStream], [Server],
// [Client], [Dial], [Dialer.DialStream]. Read never waits for a Write, a timeout is
// not final, and an end of stream without close_notify is [ErrTruncated].
//
// For event loops, use [Engine]: no net.Conn, no I/O, no goroutine.
//
// For libraries that call crypto/tls themselves, use package ticketdefer.
//
// # How a stream ends
//
// [Conn.Close] says that all is well. On a client that has read nothing it waits for
// the server, 2 seconds at most: see there. [Conn.Abort], and [Abort] for a *tls.Conn,
// say by a fatal alert that it is not; [AbortHandler] does so for net/http. With
// [Options].Reasons a server can add words. [Conn.CloseRead] is for those who only
// write.
//
// What the peer said is in an [*AlertError], or in [ErrTruncated] if it left without a
// word. A handshake that fails is a [*HandshakeError], which tells how far it got and
// what to do. All of them work with errors.Is on the error of the transport beneath.
//
// [PinPeers] and [PinnedIdentity] are for peers who know each other's keys, without
// any certificate authority.
//
// # What happens below
//
// [Options].Trace is told of everything that this package does on its own account:
// what is held and released, key updates, alerts, drains, and whether deferral is on.
// Package tlsprom counts that for Prometheus. [StatsOf] tells of one connection.
//
// # Limits
//
// A close_notify alert is data to TCP. When one side closes its sending half first
// and the other never reads, the latter's unsent data is lost when it closes, where
// with plain TCP it would not be. So a server of uploads closes after the end of
// the upload. And a record is all or nothing: a connection that is reset inside one
// delivers fewer bytes than TCP would have.
package tlsstream
