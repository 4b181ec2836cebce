package membio

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
)

// errInvalidWrite means that a writer claimed to have written more than it
// was given, or less than nothing.
var errInvalidWrite = errors.New("membio: writer returned an invalid count")

// maxPooledJoin is the largest joining buffer kept for reuse, in bytes. Held
// messages and one TLS record fit four times over; a larger one comes from a
// rare large application write, and must not stay for ever.
const maxPooledJoin = 64 << 10

// vector is a list of slices that leave in one transport write, with the
// scratch memory that needs. It exists so that neither writev nor joining
// allocates in the steady state.
type vector struct {
	bufs   net.Buffers
	rest   net.Buffers // what writev consumes; a field, so that it does not escape anew at each call
	joined []byte
}

var vectorPool = sync.Pool{New: func() any { return new(vector) }}

func newVector() *vector { return vectorPool.Get().(*vector) }

// free returns v to the pool, without references to the bytes it listed.
func (v *vector) free() {
	clear(v.bufs)
	v.bufs, v.rest = v.bufs[:0], nil
	if cap(v.joined) > maxPooledJoin {
		v.joined = nil
	}
	vectorPool.Put(v)
}

// writeTo writes the listed slices to w in one call. The count is always in
// the range of what was listed, and less than all of it comes with an error.
func (v *vector) writeTo(w io.Writer) (int64, error) {
	switch len(v.bufs) {
	case 0:
		return 0, nil
	case 1:
		return writeFull(w, v.bufs[0])
	}
	switch w.(type) {
	// Only these two have writev beneath net.Buffers; for all others it makes
	// one Write for each slice.
	case *net.TCPConn, *net.UnixConn:
		v.rest = v.bufs
		return v.rest.WriteTo(w)
	}
	v.joined = v.joined[:0]
	total := 0
	for _, b := range v.bufs {
		total += len(b)
	}
	v.joined = slices.Grow(v.joined, total)
	for _, b := range v.bufs {
		v.joined = append(v.joined, b...)
	}
	return writeFull(w, v.joined)
}

// writeFull is w.Write for writers that may break io.Writer's rules.
func writeFull(w io.Writer, p []byte) (int64, error) {
	n, err := w.Write(p)
	if n < 0 || n > len(p) {
		return 0, errInvalidWrite
	}
	if n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	return int64(n), err
}
