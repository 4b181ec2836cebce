package bench

import (
	"context"
	"errors"
	"fmt"
)

const (
	// DefaultIdleConnections is enough for what a process has only once to vanish.
	DefaultIdleConnections = 5000

	// MostIdleConnections is what one port of a server can have from one address: 28,232 by Linux's default.
	MostIdleConnections = 25_000
)

// runIdle measures each stack in processes of its own, so that what one leaves behind is not the next one's.
func (m *measurement) runIdle(ctx context.Context, places *places, progress func()) error {
	for _, p := range append([]*pair{m.stock}, m.variants...) {
		if ctx.Err() != nil {
			return nil
		}
		err := places.with([]*pair{p}, func() error { return m.measureIdle(ctx, p) })
		if ctx.Err() != nil {
			return nil
		}
		p.err = err
		if p == m.stock && err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		progress()
	}
	return nil
}

func (m *measurement) measureIdle(ctx context.Context, p *pair) error {
	r := request{op: opListen, lane: p.id, kind: idle, stack: p.serverStack}
	listening, err := p.server.call(r)
	if err != nil {
		return err
	}
	r.port = listening.Port
	before, err := p.memory()
	if err != nil {
		return err
	}
	if err := p.connect(ctx, r, m.conns); err != nil {
		return err
	}
	r = request{op: opIdle, lane: p.id, size: m.scenario.size}
	_, serverErr := p.server.call(r)
	_, clientErr := p.client.call(r)
	if err := errors.Join(serverErr, clientErr); err != nil {
		return err
	}
	r.op, r.conns = opExchange, batch
	for left := m.conns; left > 0 && m.scenario.size > 0; left -= batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := p.client.call(r); err != nil {
			return err
		}
	}
	after, err := p.memory()
	if err != nil {
		return err
	}
	each := func(after, before uint64) float64 { return (float64(after) - float64(before)) / float64(m.conns) }
	p.memoryEach = &Memory{
		ClientHeap:  each(after[0].Heap, before[0].Heap),
		ClientStack: each(after[0].Stack, before[0].Stack),
		ServerHeap:  each(after[1].Heap, before[1].Heap),
		ServerStack: each(after[1].Stack, before[1].Stack),
	}
	return nil
}

// memory is of the client and the server.
func (p *pair) memory() ([2]memory, error) {
	client, clientErr := p.client.call(request{op: opMemory})
	server, serverErr := p.server.call(request{op: opMemory})
	return [2]memory{client.memory, server.memory}, errors.Join(clientErr, serverErr)
}
