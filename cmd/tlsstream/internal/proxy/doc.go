// Package proxy carries connections between TLS on one side and plain TCP on the
// other, so that programs in any language get streams that never write out of
// turn: in front of a service that knows no TLS, or, originating, behind a client
// that knows none.
//
// # How an end crosses
//
// A TCP stream ends in one of two ways, by FIN or by RST, and a TLS stream by
// close_notify, or by an alert, or by not being ended at all. What was an end in
// order on one side is one on the other, and what was not is not:
//
//	TLS side                                    plain side
//	close_notify                   ───────►     FIN, at once
//	truncation, alert, reset       ───────►     RST, behind all that came before
//	close_notify, in its turn      ◄───────     FIN
//	fatal alert                    ◄───────     RST, timeout, refusal
//
// Each direction ends by itself, so either side may go on sending after it has
// seen the other's end (half-close).
//
// "In its turn" is the one rule that plain TCP does not need. A FIN is nothing that
// a peer has to read; a close_notify is 24 bytes that lie in the receive queue of a
// peer that is busy writing and never reads, and when that peer closes, its kernel
// sends RST and throws away what it had still queued. So close_notify waits while
// the TLS peer is in the middle of sending: see [EndRule].
package proxy
