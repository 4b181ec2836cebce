package bench

import (
	"errors"
	"io"
	"sync"
)

// exchangesAtOnce is how many connections of an idle lane have traffic at the same time. Each has a buffer that is not
// the connection's, so that what is counted is the stack's.
const exchangesAtOnce = 8

// buffers are made before memory is counted for the first time.
var buffers = sync.OnceValue(func() chan []byte {
	pool := make(chan []byte, exchangesAtOnce)
	for range cap(pool) {
		pool <- make([]byte, readBytes)
	}
	return pool
})

// beIdle reads from each connection in a goroutine of its own, as servers in Go do. If size is not zero, they are for
// exchanges of so many bytes.
func (l *lane) beIdle(size int) {
	buffers()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		if !l.server {
			c.whole = make(chan error, 1)
		}
		go func() {
			for {
				err := l.receiveWhole(c, size)
				if err != nil {
					l.close() // the other end notices
				}
				if c.whole != nil {
					c.whole <- err
				}
				if err != nil {
					return
				}
			}
		}()
	}
}

// receiveWhole waits for size bytes. A server answers.
func (l *lane) receiveWhole(c *conn, size int) error {
	if _, err := c.tls.Read(c.first[:]); err != nil {
		return err
	}
	buf := <-buffers()
	defer func() { buffers() <- buf }()
	for left := size - 1; left > 0; {
		n, err := c.tls.Read(buf[:min(left, len(buf))])
		if left -= n; left > 0 && err != nil {
			return err
		}
	}
	if l.server {
		return writeAll(c.tls, buf, size)
	}
	return nil
}

func writeAll(w io.Writer, buf []byte, size int) error {
	for left := size; left > 0; {
		n, err := w.Write(buf[:min(left, len(buf))])
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// exchange sends size bytes on the next conns connections, and waits for as many on each.
func (l *lane) exchange(conns, size int) error {
	l.mu.Lock()
	conns = min(conns, len(l.conns)-l.exchanged)
	next := l.conns[l.exchanged : l.exchanged+conns]
	l.exchanged += conns
	l.mu.Unlock()

	defer l.watch()()
	message := make([]byte, readBytes)
	work, failures := make(chan *conn), make(chan error, exchangesAtOnce)
	for range exchangesAtOnce {
		go func() {
			var failed error
			for c := range work {
				if failed == nil {
					failed = writeAll(c.tls, message, size)
				}
				if failed == nil {
					failed = <-c.whole
				}
			}
			failures <- failed
		}()
	}
	for _, c := range next {
		work <- c
	}
	close(work)
	var err error
	for range exchangesAtOnce {
		err = errors.Join(err, <-failures)
	}
	if err != nil {
		l.close()
		return l.explain(err)
	}
	return nil
}
