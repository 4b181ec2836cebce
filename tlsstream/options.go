package tlsstream

import (
	"fmt"
	"time"
)

// defaultCloseTimeout is what crypto/tls allows for close_notify.
const defaultCloseTimeout = 5 * time.Second

// defaultDrainTimeout is for a server that is slow to finish its handshake: its
// tickets come right behind that, and must find this side's socket open. How fast
// it then reads does not matter: the kernel goes on sending after Close.
const defaultDrainTimeout = 2 * time.Second

// Options change how streams behave. The zero value works. An Options value
// may be used for any number of connections, and must not be changed while it
// is.
type Options struct {
	// CloseTimeout bounds how long Close waits for the transport to take
	// what is pending and close_notify. A write deadline that comes earlier
	// bounds it too. If zero, 5 seconds, as crypto/tls. Negative values are
	// an error, or a panic in functions that return none.
	CloseTimeout time.Duration

	// DrainTimeout bounds how long Abort, and a Close that must, read and
	// discard what the peer still sends, up to its end and 16 MiB at most,
	// before the transport is closed.
	//
	// A Close must on the client's side of TLS 1.3, if Read has returned nothing,
	// or CloseRead was called and the server's stream has not ended:
	// a server that does not defer sends tickets after the handshake, and closing
	// with those unread, or before they come, costs the server what it has not
	// received. The wait ends when the server closes, as most do at the end of an
	// upload; one that stays open, or is slower, costs the whole time. It must
	// be longer than the server takes to finish its handshake, with all it does to
	// verify a client. A read deadline that comes earlier bounds it too.
	//
	// A server whose handshake has failed drains in the background, so that the
	// client sees the alert; 256 connections at most in a process, and whatever
	// deadlines are set. A transport without CloseWrite is not drained.
	//
	// If zero, 2 seconds; if negative, nothing is drained.
	DrainTimeout time.Duration

	// Reasons lets [Conn.AbortWithReason] send its text, on a server, and
	// AlertError show it, on a client. TLS has no field for it: it travels as a
	// session ticket, behind which the server repeats the client's good one: a
	// client that does not know of this resumes with that. (Tried with OpenSSL,
	// curl, GnuTLS, Python, Node.js, Java, Go and Chromium.) If the good one is
	// longer than 14 KiB, for the certificates in it, such a client may
	// make one full handshake more; so may one that keeps several tickets, as
	// browsers do, and then opens several connections at once. A client with
	// Reasons and no ClientSessionCache asks for tickets that it would not ask
	// for otherwise.
	// If zero, no text is sent and none is looked for.
	Reasons bool

	// DropAfterCloseRead makes CloseRead drop application data of the peer. If
	// zero, it is an error.
	DropAfterCloseRead bool

	// AllowTruncation makes Read return io.EOF in place of ErrTruncated when
	// the peer ends its stream between two records without close_notify, as
	// crypto/tls does. A stream cut inside a record is truncated all the same. If zero,
	// truncation is an error.
	AllowTruncation bool

	// WriteBehind makes Write of a Conn return when its bytes are in memory, where a
	// goroutine that exists while there is something to send takes them from. Small
	// writes are gathered into full records before they are sealed, and several
	// records leave in one system call. Nothing waits for more to come: the first Write
	// of a quiet stream leaves at once.
	//
	// It is how many bytes are gathered at most, of plaintext. Up to 64 KiB more are
	// sealed and on their way, as without it. A Write waits while there is no room,
	// and a longer one goes in pieces. Memory is used in pieces of 16 KiB, and none
	// when all is sent. 256 KiB serve well; less than 16 KiB makes small records.
	//
	// Write promises less then: nil says that the bytes are in memory, and not that the
	// transport has taken them. An error of the transport is returned by the next
	// Write, Flush, CloseWrite or Close, and by those after it. Flush, CloseWrite and
	// Close wait for everything that was written before, so one of them must be called,
	// and its error looked at. Close waits no longer than CloseTimeout: with much to
	// send, call Flush first, with a write deadline of your own. A Close that could not
	// send everything says how many bytes that may be, and sends no close_notify, so that
	// the peer does not take what it has for all; so does a Close that breaks a Write
	// which waits for room. It counts what the transport has not taken. What that had
	// taken, and the peer has not read, is lost with the connection too, here as
	// without WriteBehind, and only an answer of the peer's tells. Abort sends what was
	// written in front of its alert, as without it.
	//
	// On a stream that only writes, call CloseRead: then the end of the peer's shows at
	// the next Write, and not one Write later. Close does not return that end: see Err.
	//
	// The write deadline is that of calls that wait, and of the goroutine. When it
	// passes nothing is lost: what was written stays, and goes on when a later one is
	// set, or with the next Write or Flush before a later one. n of a Write that timed
	// out counts the bytes that are in memory: go on with p[n:].
	//
	// An Engine takes no notice of it, since its Write never waits, and neither does
	// the *tls.Conn of Listener.Accept and Dialer.DialContext.
	//
	// If zero, Write returns when the transport has taken everything. Negative values
	// are an error, or a panic in functions that return none.
	WriteBehind int

	// OwnRecords makes this package seal and open the application's records itself,
	// once crypto/tls has completed the handshake. It is for very many connections that
	// are idle most of the time: an idle Engine then keeps less than 4 KiB, where crypto/tls
	// keeps buffers as large as the records it has seen. Also, KeyUpdates of a
	// peer cost no memory, and this side changes its keys before they are worn out
	// (RFC 8446 5.5), which crypto/tls never does. Bytes and alerts on
	// the wire are as without it, but that one KeyUpdate answers all of a peer's that came
	// before it (RFC 8446 4.6.3).
	//
	// An idle Conn of a server keeps 5 KiB, its transport included. A client with a
	// ClientSessionCache, or Reasons, keeps its tls.Conn for the tickets, 12 KiB in all, so it
	// gains only once data has flowed. A handshake takes a little longer with it.
	//
	// It has no effect with TLS 1.2, and in FIPS 140-3 mode: see Stats.OwnRecords; nor on
	// the *tls.Conn of Listener.Accept and Dialer.DialContext, for which Stats says off.
	// If zero, crypto/tls seals and opens all records.
	OwnRecords bool

	// updateAfter is ticketdefer.TakeOverOptions.UpdateAfter; tests set it.
	updateAfter uint64

	// Trace is called for what happens below the application: see there. If nil,
	// nothing is, and it costs nothing.
	Trace *Trace
}

func (o *Options) check() error {
	if o.CloseTimeout < 0 {
		return fmt.Errorf("tlsstream: Options.CloseTimeout is negative: %v (zero means %v)", o.CloseTimeout, defaultCloseTimeout)
	}
	if o.WriteBehind < 0 {
		return fmt.Errorf("tlsstream: Options.WriteBehind is negative: %d (zero means off)", o.WriteBehind)
	}
	return nil
}

// drainTimeout is zero if nothing is to be drained.
func (o *Options) drainTimeout() time.Duration {
	if o.DrainTimeout == 0 {
		return defaultDrainTimeout
	}
	return max(0, o.DrainTimeout)
}

func (o *Options) closeTimeout() time.Duration {
	if o.CloseTimeout == 0 {
		return defaultCloseTimeout
	}
	return o.CloseTimeout
}
