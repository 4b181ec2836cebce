package bench

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A job is one end's part of a slice, on all connections of its lane.
type job struct {
	done   chan struct{}
	before usage
	began  time.Time
	after  reply // once done is closed, with err
	err    error
}

// start begins the lane's part of a slice.
func (l *lane) start(r request) error {
	play := l.player(r)
	if play == nil {
		return fmt.Errorf("cannot play %q", r.kind)
	}
	l.mu.Lock()
	conns := append([]*conn(nil), l.conns...)
	l.mu.Unlock()
	if r.kind.isHandshake() {
		conns = make([]*conn, 1)
	}
	if len(conns) == 0 {
		return errors.New("no connections")
	}
	l.makeBuffers(r, conns)
	l.job = job{done: make(chan struct{})}
	j := &l.job
	stop := l.watch()
	var running atomic.Int64
	running.Store(int64(len(conns)))
	var once sync.Once
	j.before = usageNow(r.kind)
	j.began = time.Now()
	for _, c := range conns {
		go func() {
			if err := play(c, r); err != nil {
				once.Do(func() {
					j.err = l.explain(err)
					l.close() // the other end notices
				})
			}
			if running.Add(-1) > 0 {
				return
			}
			j.after.Wall = time.Since(j.began)
			now := usageNow(r.kind)
			j.after.usage = usage{now.CPU - j.before.CPU, now.Mallocs - j.before.Mallocs, now.Bytes - j.before.Bytes}
			stop()
			close(j.done)
		}()
	}
	return nil
}

// makeBuffers sees to it that slices allocate nothing.
func (l *lane) makeBuffers(r request, conns []*conn) {
	size := r.size
	switch {
	case r.kind.isHandshake():
		return
	case r.kind == oneWay && l.server:
		size = readBytes
		if len(conns) > manyConns {
			size = readBytesOfMany
		}
	case r.kind == oneWay:
		// It is only read from, so one is enough for all.
		if len(l.message) != r.size {
			l.message = make([]byte, r.size)
		}
		size = 1
	}
	for _, c := range conns {
		if len(c.buf) != size {
			c.buf = make([]byte, size)
		}
		c.message = l.message
	}
}

// finish waits for the end of what start has begun.
func (l *lane) finish() (reply, error) {
	if l.job.done == nil {
		return reply{}, errors.New("nothing was started")
	}
	<-l.job.done
	return l.job.after, l.job.err
}

// usageNow counts allocations, which stops the world for some microseconds, only where they are asked for.
func usageNow(k kind) usage {
	var u usage
	if k.isHandshake() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		u.Mallocs, u.Bytes = m.Mallocs, m.TotalAlloc
	}
	u.CPU = cpuTime()
	return u
}

// player returns what this end does on a connection.
func (l *lane) player(r request) func(*conn, request) error {
	switch {
	case r.kind == oneWay && l.server:
		return receive
	case r.kind == oneWay:
		return send
	case r.kind == pingPong && l.server:
		return pong
	case r.kind == pingPong:
		return ping
	case r.kind.isHandshake() && l.server:
		return l.acceptMany
	case r.kind.isHandshake():
		return l.dialMany
	}
	return nil
}

func send(c *conn, r request) error {
	for range r.count {
		if _, err := c.tls.Write(c.message); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(c.tls, c.buf)
	return err
}

func receive(c *conn, r request) error {
	for left := r.count * int64(r.size); left > 0; {
		n, err := c.tls.Read(c.buf)
		if left -= int64(n); left > 0 && err != nil {
			return err
		}
	}
	_, err := c.tls.Write(c.buf[:1])
	return err
}

func ping(c *conn, r request) error {
	for range r.count {
		if _, err := c.tls.Write(c.buf); err != nil {
			return err
		}
		if _, err := io.ReadFull(c.tls, c.buf); err != nil {
			return err
		}
	}
	return nil
}

func pong(c *conn, r request) error {
	for range r.count {
		if _, err := io.ReadFull(c.tls, c.buf); err != nil {
			return err
		}
		if _, err := c.tls.Write(c.buf); err != nil {
			return err
		}
	}
	return nil
}

// dialMany connects, makes a handshake, reads a byte and closes, one connection after the other.
func (l *lane) dialMany(_ *conn, r request) error {
	var b [1]byte
	for range r.count {
		c, err := l.dial()
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(c.tls, b[:]); err != nil {
			return err
		}
		if got := c.tls.ConnectionState().DidResume; got != (r.kind == handshakeResumed) {
			return fmt.Errorf("resumed: %v", got)
		}
		if err := c.tls.Close(); err != nil {
			return err
		}
		l.remove(c)
	}
	return nil
}

func (l *lane) acceptMany(_ *conn, r request) error {
	var b [1]byte
	for range r.count {
		c, err := l.accept()
		if err != nil {
			return err
		}
		if _, err := c.tls.Write(b[:]); err != nil {
			return err
		}
		if _, err := c.tls.Read(b[:]); err != io.EOF {
			return fmt.Errorf("the client's end: %w", err)
		}
		c.tls.Close() // the client may have gone
		l.remove(c)
	}
	return nil
}
