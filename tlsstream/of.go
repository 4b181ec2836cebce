package tlsstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer"
)

// FlushTickets sends what c holds now, as [Conn.FlushTickets] does. c is a *Conn,
// or anything over a ticketdefer.Conn that has a NetConn method, such as the
// *tls.Conn of a Listener or a Dialer. On such a *tls.Conn it does not run the
// handshake, and before it does nothing.
func FlushTickets(c net.Conn) error {
	switch layer := layerOf(c).(type) {
	case *Conn:
		return layer.FlushTickets()
	case *ticketdefer.Conn:
		return layer.FlushTickets()
	}
	return errNoNetConn
}

// StatsOf returns the counters of c, a *Conn or a net.Conn that leads to a
// ticketdefer.Conn through NetConn methods, as the *tls.Conn of a Listener or a
// Dialer does. It returns false for others. Under net/http a connection is to be
// had from http.Server.ConnState or ConnContext, and from httptrace.GotConn.
func StatsOf(c net.Conn) (Stats, bool) {
	switch layer := layerOf(c).(type) {
	case *Conn:
		return layer.Stats(), true
	case *ticketdefer.Conn:
		return Stats{Stats: layer.Stats()}, true
	}
	return Stats{}, false
}

// Abort ends c with a fatal alert, as [Conn.Abort] does. c is as for
// [FlushTickets]. On a *tls.Conn in the handshake of TLS 1.2 or older, or of a
// connection whose secrets this layer does not have, no alert can be sent: c is
// closed without close_notify, which careful clients report, and the error says so.
func Abort(c net.Conn, a Alert) error {
	switch layer := layerOf(c).(type) {
	case *Conn:
		return layer.Abort(a)
	case *ticketdefer.Conn:
		o := Options{}
		err := layer.AbortOver(stackOver(c, layer), uint8(a), o.closeTimeout(), o.drainTimeout())
		switch {
		case errors.Is(err, ticketdefer.ErrEnded):
			return net.ErrClosed
		case err != nil:
			return fmt.Errorf("tlsstream: the connection was closed, but alert %v may not have reached the peer: %w", a, err)
		}
		return nil
	}
	return errNoNetConn
}

// stackOver finds the *tls.Conn that runs over layer, on the way there from c. It
// returns nil if there is none.
func stackOver(c net.Conn, layer *ticketdefer.Conn) io.Reader {
	var stack io.Reader
	membio.Find(c, func(c net.Conn) bool {
		if t, ok := c.(*tls.Conn); ok {
			stack = t
		}
		return c == layer
	})
	return stack
}

// layerOf finds the outermost *Conn or *ticketdefer.Conn that c is or runs over.
func layerOf(c net.Conn) net.Conn {
	return membio.Find(c, func(c net.Conn) bool {
		switch c.(type) {
		case *Conn, *ticketdefer.Conn:
			return true
		}
		return false
	})
}
