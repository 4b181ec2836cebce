package torture

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

const (
	// stillTicks is in how many parts StallAfter is cut. A part counts when the scheduler has also come round to the
	// watchdog, so that a starved process does not look like a deadlocked one, or like a slow one.
	stillTicks = 8

	// lockPatience is how many times longer a run may be still whose sides are not known to wait for each other: a side
	// may be blocked on a lock, or be starved.
	lockPatience = 4

	// abandonAfter is how long a stack may take to return from its calls once its transport is closed. Stock
	// crypto/tls needs up to 5 s.
	abandonAfter = 10 * time.Second

	// closeBound is how long a Close may wait while nothing moves. crypto/tls allows its close_notify 5 s, and tlsstream
	// the same and 2 s for its drain; the rest is for a busy machine.
	closeBound = 10 * time.Second

	// defaultFloor is a network's Floor if it has none, in bytes per second: a hundredth of what a busy machine does.
	defaultFloor = 64 << 10

	// floorGrace is what a run may take beyond what the floor allows its bytes: handshakes, pauses, and a probe or two
	// of TCP's.
	floorGrace = 10 * time.Second

	// slowPatience is how many times the allowed time a run may last that still moves. Then it is stopped.
	slowPatience = 2
)

// An ending is how the watchdog saw a run end.
type ending struct {
	// class is Deadlock, HungClose or Slow; OK if there is nothing to say.
	class  Class
	detail string
	stacks string

	stopped   bool // the run did not end by itself
	abandoned bool // and not even after its transports were closed
}

// A healer is a transport with faults that can be taken away. A network may give such transports.
type healer interface{ Heal() }

// watch waits for both scripts. If nothing moves any more it takes the network's faults away; if then still nothing
// moves it says who waits where, and ends them by closing the transports beneath them.
func (t *trial) watch(ctx context.Context) ending {
	length := t.network.StallAfter / stillTicks
	tick := time.NewTicker(length)
	defer tick.Stop()
	floor := t.network.Floor
	if floor == 0 {
		floor = defaultFloor
	}
	allowed := floorGrace + time.Duration(float64(t.size)/float64(floor)*float64(time.Second))

	var end ending
	healed := false
	last, still, ticks := t.moves(), 0, 0
	for !end.stopped {
		select {
		case <-t.client.done:
			select {
			case <-t.server.done:
				if took := time.Duration(ticks) * length; took > allowed {
					end.class = Slow
					end.detail = fmt.Sprintf("%d bytes took more than the %v that the network's floor allows", t.size, allowed)
				}
				return end
			case <-tick.C:
			case <-ctx.Done():
			}
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		runtime.Gosched()
		ticks++
		if time.Duration(ticks)*length > slowPatience*allowed {
			end = ending{class: Slow, stopped: true, detail: fmt.Sprintf("still moving when it was stopped, after %d times what the network's floor allows: ", slowPatience)}
			break
		}
		if now := t.moves(); now != last {
			last, still = now, 0
			continue
		}
		still++
		if still < stillTicks || still < stillTicks*lockPatience && !t.blocked() {
			continue
		}
		if !healed && t.heal() {
			healed = true
			still = 0
			continue
		}
		if t.over() {
			continue // since this tick: select may have preferred it
		}
		closing := t.client.closing() || t.server.closing()
		if closing && time.Duration(still)*length < closeBound {
			continue
		}
		end = ending{class: Deadlock, stopped: true}
		if closing {
			end.class = HungClose
		}
		if healed {
			end.detail = "with the network's faults gone, "
		}
	}
	if end.stopped {
		t.tapeStuck()
		end.detail += t.client.describe() + ", " + t.server.describe()
		end.stacks = stacksOf(t.label, goroutines())
	}
	t.stop(&end)
	return end
}

// over reports whether both scripts have ended.
func (t *trial) over() bool {
	for _, s := range []*side{t.client, t.server} {
		select {
		case <-s.done:
		default:
			return false
		}
	}
	return true
}

// stop ends both scripts by closing the transports beneath them.
func (t *trial) stop(end *ending) {
	close(t.stopped)
	t.client.transport.Close()
	t.server.transport.Close()
	abandon := time.NewTimer(abandonAfter)
	defer abandon.Stop()
	for _, s := range []*side{t.client, t.server} {
		select {
		case <-s.done:
		case <-abandon.C:
			end.abandoned = true
			end.detail += fmt.Sprintf("; the %s had not returned %v after its transport was closed", s.name, abandonAfter)
			return
		}
	}
}

// heal takes the faults of the network away, if it has any.
func (t *trial) heal() bool {
	healed := false
	for _, conn := range t.transports {
		if h, ok := conn.(healer); ok {
			h.Heal()
			healed = true
		}
	}
	return healed
}

// moves grows with whatever happens on either transport.
func (t *trial) moves() int64 {
	return t.client.transport.watched().moves.Load() + t.server.transport.watched().moves.Load()
}

// closing reports whether the side is in the Close of a stack. A puppet's Close is a plain write, without a bound.
func (s *side) closing() bool {
	select {
	case <-s.done:
		return false
	default:
	}
	if *s.step.Load() != closeStep {
		return false
	}
	_, scripted := s.conn.(*puppet)
	return !scripted
}

// blocked reports whether the sides that have not ended all wait in calls of their transports.
func (t *trial) blocked() bool {
	ended := false
	for _, s := range []*side{t.client, t.server} {
		select {
		case <-s.done:
			ended = true
			continue
		default:
		}
		if s.transport.watched().where() == "" {
			return false
		}
		if programOf(s) != nil {
			return false // nobody knows what it does
		}
		if waits, known := s.transport.waits(); known && !waits {
			return false
		}
	}
	if _, known := t.client.transport.waits(); !known {
		return true
	}
	// On a pipe, a call whose peer has closed is about to return, and so are a Write and a Read that have met.
	client, server := t.client.transport.watched(), t.server.transport.watched()
	meet := client.writing.Load() > 0 && server.reading.Load() > 0 || server.writing.Load() > 0 && client.reading.Load() > 0
	return !ended && !meet
}
