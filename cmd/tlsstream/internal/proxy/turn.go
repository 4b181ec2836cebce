package proxy

import (
	"context"
	"fmt"
	"time"
)

// An EndRule says when the plain side's end crosses to the TLS side.
//
// The TLS peer counts as sending while bytes of its stream are on their way through
// this process, and for a quiet moment after the last byte that came from it; but not
// if the plain side has answered since. A peer that has read the answer is
// reading, and one that never reads has unread bytes already, and would lose its own
// with plain TCP, too.
type EndRule int

const (
	// EndQuiet sends close_notify at once unless the TLS peer is in the middle
	// of sending, and else at its end or in its next quiet moment.
	EndQuiet EndRule = iota
	// EndLast sends close_notify after the TLS peer's own, never before. Nothing is
	// lost, however long the peer pauses; but a peer that waits for the end of
	// an answer waits for ever.
	EndLast
	// EndAtOnce sends close_notify at once, as other proxies do. A TLS peer
	// that is still writing, and does not read, loses what it has not sent.
	EndAtOnce
)

var endRuleNames = []string{EndQuiet: "quiet", EndLast: "last", EndAtOnce: "at-once"}

// Set is part of pflag.Value.
func (r *EndRule) Set(text string) error {
	for i, name := range endRuleNames {
		if text == name {
			*r = EndRule(i)
			return nil
		}
	}
	return fmt.Errorf("want quiet, last or at-once")
}

func (r *EndRule) String() string { return endRuleNames[*r] }

// Type is part of pflag.Value.
func (*EndRule) Type() string { return "rule" }

// settleTime is how long a write may take to come back that a reset has ended. The
// kernel tells of a reset once; whoever asks after that is told of the stream's end.
const settleTime = 50 * time.Millisecond

// awaitTurn waits, after the plain side's end, until close_notify may go to the TLS
// peer, or ctx is done. It reports whether it had to wait for the peer.
func (p *pair) awaitTurn(ctx context.Context) bool {
	for limit := now() + settleTime; p.carrying.Load() && now() < limit; {
		p.pause(ctx, firstLook)
	}
	switch {
	case p.rule == EndAtOnce || p.inwardEnded():
		return false
	case p.rule == EndLast:
		select {
		case <-p.inwardDone:
		case <-ctx.Done():
		}
		return true
	}
	if heard := p.wire.heard.get(); !p.carrying.Load() && (heard < p.spoke.get() || p.quietSince(heard)) {
		return false
	}
	for ctx.Err() == nil && !p.inwardEnded() {
		heard := p.wire.heard.get()
		if p.carrying.Load() {
			heard = now()
		}
		if p.quietSince(heard) {
			break
		}
		p.pause(ctx, heard+p.quiet-now())
	}
	return true
}

func (p *pair) quietSince(heard moment) bool { return now()-heard >= p.quiet }

func (p *pair) inwardEnded() bool {
	select {
	case <-p.inwardDone:
		return true
	default:
		return false
	}
}

// pause waits for the TLS peer's end, but not longer than d.
func (p *pair) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.inwardDone:
	case <-timer.C:
	case <-ctx.Done():
	}
}
