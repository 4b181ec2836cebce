package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Role is what a row is for.
type Role string

const (
	// Baseline is stock crypto/tls between the others' slices.
	Baseline Role = "baseline"

	// Control is stock crypto/tls again, measured as the variants are: how far it is from 1 is what the figures of
	// the variants are worth.
	Control Role = "control"

	// Variant is what is compared with the baseline.
	Variant Role = "variant"
)

// A Side says which end of a variant is not the baseline's.
type Side string

const (
	Both       Side = "both"
	ClientSide Side = "client"
	ServerSide Side = "server"
)

// A pair is a lane as the conductor sees it: connections between two stacks that last as long as the measurement.
type pair struct {
	id             int
	name           string
	role           Role
	side           Side
	client, server *process
	clientStack    string
	serverStack    string

	terminator *Terminator // between them; nil without
	front      *front      // while it runs
	places     *places

	memoryEach *Memory // of idle connections

	count   int64 // messages of a slice on each connection
	samples []sample
	ratios  []float64 // of rates
	costs   []float64 // the same of processor time
	err     error     // why it is measured no more
}

// A sample is what a slice gave.
type sample struct {
	wall           time.Duration
	units          float64
	client, server usage
}

// rate is in units a second.
func (s sample) rate() float64 { return s.units / s.wall.Seconds() }

// cost is the processor time of both ends for a unit, in nanoseconds.
func (s sample) cost() float64 { return float64(s.client.CPU+s.server.CPU) / s.units }

func (p *pair) open(ctx context.Context, s *Scenario, conns int) error {
	r := request{op: opListen, lane: p.id, kind: s.kind, stack: p.serverStack}
	listening, err := p.server.call(r)
	if err != nil {
		return err
	}
	r.port = listening.Port
	if p.terminator != nil {
		if p.front, err = p.places.startFront(p.terminator, r.port); err != nil {
			return err
		}
		r.port = p.front.port
	}
	if s.kind.isHandshake() {
		conns = 1 // to have a ticket
	}
	return p.connect(ctx, r, conns)
}

// batch is how many connections are made, or have traffic, between two looks at the context. Both take less than a
// second.
const batch = 250

// connect makes so many connections, or fewer if ctx is done before.
func (p *pair) connect(ctx context.Context, r request, conns int) error {
	for left := conns; left > 0; left -= batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.op, r.stack, r.conns = opAccept, p.serverStack, min(batch, left)
		if err := p.server.send(r); err != nil {
			return err
		}
		r.op, r.stack = opDial, p.clientStack
		_, clientErr := p.client.call(r)
		_, serverErr := p.server.receive()
		if err := errors.Join(clientErr, serverErr); err != nil {
			return err
		}
	}
	return nil
}

// slice plays one slice.
func (p *pair) slice(s *Scenario, conns int) (sample, error) {
	r := request{op: opStart, lane: p.id, kind: s.kind, size: s.size, count: p.count}
	if _, err := p.server.call(r); err != nil {
		return sample{}, err
	}
	var before time.Duration
	if p.front != nil {
		before = p.front.cpu()
	}
	r.op = opRun
	client, clientErr := p.client.call(r)
	r.op = opFinish
	server, serverErr := p.server.call(r)
	if err := errors.Join(clientErr, serverErr); err != nil {
		return sample{}, err
	}
	if p.front != nil {
		server.CPU = p.front.cpu() - before
	}
	return sample{wall: client.Wall, units: s.units(p.count * int64(conns)), client: client.usage, server: server.usage}, nil
}

const (
	// mostCalibrations bounds the slices that look for the length of a slice: it at least doubles each time.
	mostCalibrations = 40

	// fastestGrowth bounds by how much a slice may become longer at once: a short one says little.
	fastestGrowth = 16
)

// calibrate finds how many messages make a slice last about as long as wanted. It also warms up: buffers and records
// have then grown to their sizes.
func (p *pair) calibrate(s *Scenario, conns int, length time.Duration) error {
	p.count = 1
	for range mostCalibrations {
		got, err := p.slice(s, conns)
		if err != nil {
			return err
		}
		wanted := float64(length) / float64(max(got.wall, 1))
		if wanted < 2 {
			p.count = max(1, int64(float64(p.count)*wanted))
			return nil
		}
		p.count = int64(float64(p.count) * min(wanted, fastestGrowth))
	}
	return fmt.Errorf("%d messages take no time", p.count)
}

// follow keeps slices about as long as wanted if the machine is not as fast any more as when they were calibrated.
func (p *pair) follow(took, wanted time.Duration) {
	switch {
	case took > 2*wanted:
		p.count = max(1, p.count/2)
	case took < wanted/2:
		p.count *= 2
	}
}
