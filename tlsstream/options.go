package tlsstream

import (
	"fmt"
	"time"
)

// defaultCloseTimeout is what crypto/tls allows for close_notify.
const defaultCloseTimeout = 5 * time.Second

// defaultDrainTimeout gives a server that is slow, but alive, time to read what
// fits the socket buffers.
const defaultDrainTimeout = 2 * time.Second

// Options change how streams behave. The zero value works. An Options value
// may be used for any number of connections, and must not be changed while it
// is.
type Options struct {
	// CloseTimeout bounds how long Close waits for the transport to take
	// what is pending and close_notify. A write deadline that comes earlier
	// bounds it too. If zero, 5 seconds, as crypto/tls; negative values are
	// an error.
	CloseTimeout time.Duration

	// DrainTimeout bounds how long Abort, and a Close that must, read and
	// discard what the peer still sends, up to its FIN, before the transport is
	// closed. A Close must on the client's side of TLS 1.3 if nothing has been
	// read: a server that does not defer may have sent tickets, and closing with
	// those unread would cost the server what it has not received. A read
	// deadline that comes earlier bounds it too. If zero, 2 seconds; if
	// negative, nothing is drained.
	DrainTimeout time.Duration

	// Reasons lets [Conn.AbortWithReason] send its text, on a server, and
	// AlertError show it, on a client. TLS has no field for it: it travels as a
	// session ticket, behind which the server repeats the client's good one: a
	// client that does not know of this resumes with that. If the good one is
	// longer than 14 KiB, for the certificates in it, such a client may
	// make one full handshake more. A client with Reasons and no
	// ClientSessionCache asks for tickets that it would not ask for otherwise.
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
}

func (o *Options) check() error {
	if o.CloseTimeout < 0 {
		return fmt.Errorf("tlsstream: Options.CloseTimeout is negative: %v", o.CloseTimeout)
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
