package membio

import (
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"unsafe"
)

// ErrFull is returned when a buffer's limit is reached.
var ErrFull = errors.New("membio: buffer full")

// DefaultLimit is how many bytes a Buffer takes if it sets no other limit:
// four TLS records of full size, so that a peer which reads at all keeps the
// stream moving, and little enough that 10,000 connections whose peers do not
// read stay under 1 GiB.
const DefaultLimit = 64 << 10

// A chunk is a link of a Buffer. The list is made of the chunks themselves so
// that bookkeeping costs no allocation. There are two sizes: a TLS record of
// full size is some 20 to 70 bytes more than the larger, and the rest of a
// record that a socket has not taken is often a few bytes; who waits with
// either must not hold a second 16 KiB for it.
type chunk struct {
	chunkHeader
	data []byte // the memory behind it
}

type chunkHeader struct {
	next       *chunk
	start, end int // data[start:end] is held; bytes before start are consumed
}

// These are payloads. With its header, and the allocator's own of 8 bytes for
// what is large and has pointers, a chunk fills the size class of 16 KiB
// exactly; one byte more would be rounded up to 18 KiB. A small one fills that
// of 176 bytes, for what is more of a record with CBC.
const (
	chunkBytes      = 16<<10 - int(unsafe.Sizeof(chunk{})) - 8
	smallChunkBytes = 176 - int(unsafe.Sizeof(chunk{}))
)

func (c *chunk) held() []byte {
	// The capacity is cut too: an append to a slice that Peek gave away must
	// not reach the bytes a later Write puts behind it.
	return c.data[c.start:c.end:c.end]
}

func (c *chunk) isSmall() bool { return len(c.data) == smallChunkBytes }

var chunkPool = sync.Pool{New: func() any {
	c := new(struct {
		chunk
		memory [chunkBytes]byte
	})
	c.data = c.memory[:]
	return &c.chunk
}}

var smallChunkPool = sync.Pool{New: func() any {
	c := new(struct {
		chunk
		memory [smallChunkBytes]byte
	})
	c.data = c.memory[:]
	return &c.chunk
}}

func newChunk() *chunk { return chunkFrom(&chunkPool) }

func chunkFrom(pool *sync.Pool) *chunk {
	c := pool.Get().(*chunk)
	c.chunkHeader = chunkHeader{}
	return c
}

func (c *chunk) free() {
	c.next = nil
	if c.isSmall() {
		smallChunkPool.Put(c)
	} else {
		chunkPool.Put(c)
	}
}

// Buffer is a first-in, first-out queue of bytes with a limit, kept in chunks
// of 16 KiB, and 128 bytes for what is less, from pools that all buffers share.
// The zero value is an empty buffer, ready to use. An empty buffer holds no memory: a chunk goes back to
// the pool when its last byte is consumed. Chunks are not wiped, so a Buffer
// is for ciphertext, not for keys.
//
// A Buffer must not be used by several goroutines at once, with one
// exception: the bytes of slices returned by [Buffer.Peek] stay valid and
// unchanged while others Write, until Read, Discard, WriteTo or Reset removes
// them. So a goroutine may Peek under a lock, send what it saw without the
// lock, and Discard that much under the lock again.
//
// A Buffer must not be copied once it holds bytes.
type Buffer struct {
	// Limit is the most bytes the buffer holds. If zero, it is DefaultLimit;
	// if negative, there is no limit, and the caller keeps the buffer bounded.
	Limit int

	head, tail *chunk // no chunk in between is empty
	len        int
}

// Len returns the number of bytes held.
func (b *Buffer) Len() int { return b.len }

// Free returns how many bytes Write would take now, math.MaxInt if there is
// no limit.
func (b *Buffer) Free() int {
	switch {
	case b.Limit < 0:
		return math.MaxInt
	case b.Limit == 0:
		return max(0, DefaultLimit-b.len)
	default:
		return max(0, b.Limit-b.len)
	}
}

// Write appends a copy of as much of p as the limit allows, and returns how
// many bytes that was. If it is less than len(p), the error is [ErrFull].
func (b *Buffer) Write(p []byte) (int, error) {
	n := min(len(p), b.Free())
	for rest := p[:n]; len(rest) > 0; {
		if b.tail == nil || b.tail.end == len(b.tail.data) {
			b.addTail(len(rest))
		}
		k := copy(b.tail.data[b.tail.end:], rest)
		b.tail.end += k
		b.len += k
		rest = rest[k:]
	}
	if n < len(p) {
		return n, ErrFull
	}
	return n, nil
}

// addTail adds a chunk for n bytes, or the first of them. Behind a small one there is
// a large one: many short Writes fill few chunks.
func (b *Buffer) addTail(n int) {
	pool := &chunkPool
	if n <= smallChunkBytes && (b.tail == nil || !b.tail.isSmall()) {
		pool = &smallChunkPool
	}
	c := chunkFrom(pool)
	if b.tail == nil {
		b.head = c
	} else {
		b.tail.next = c
	}
	b.tail = c
}

// Read consumes up to len(p) bytes into p. It returns 0 and [io.EOF] if the
// buffer is empty and len(p) is not; no other error.
func (b *Buffer) Read(p []byte) (int, error) {
	if b.len == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && b.len > 0 {
		k := copy(p[n:], b.head.held())
		b.Discard(k)
		n += k
	}
	return n, nil
}

// Peek appends slices of all the bytes held to dst, in order, and returns the
// extended list. It consumes nothing. The slices alias the buffer: see
// [Buffer] for how long they are valid. They must not be written to.
func (b *Buffer) Peek(dst net.Buffers) net.Buffers {
	for c := b.head; c != nil; c = c.next {
		dst = append(dst, c.held())
	}
	return dst
}

// Discard drops the first n bytes. It panics if n is negative or larger than
// Len.
func (b *Buffer) Discard(n int) {
	if n < 0 || n > b.len {
		panic("membio: Discard of more bytes than the buffer holds")
	}
	b.len -= n
	for n > 0 {
		k := min(n, b.head.end-b.head.start)
		b.head.start += k
		n -= k
		if b.head.start == b.head.end {
			b.dropHead()
		}
	}
}

// Append moves everything that src holds to the end of b, whatever b's limit, and
// copies nothing.
func (b *Buffer) Append(src *Buffer) {
	if src.len == 0 {
		return
	}
	if b.head == nil {
		b.head = src.head
	} else {
		b.tail.next = src.head
	}
	b.tail = src.tail
	b.len += src.len
	src.head, src.tail, src.len = nil, nil, 0
}

// moveTo moves the first n bytes, which b must hold, to the end of dst, which
// must have room for them.
func (b *Buffer) moveTo(dst *Buffer, n int) {
	for n > 0 {
		p := b.head.held()
		p = p[:min(n, len(p))]
		dst.Write(p)
		b.Discard(len(p))
		n -= len(p)
	}
}

// dropHead returns the first chunk to its pool. A tail that is consumed goes
// back too, even with room left: an idle buffer must cost nothing.
func (b *Buffer) dropHead() {
	c := b.head
	b.head = c.next
	if b.head == nil {
		b.tail = nil
	}
	c.free()
}

// Reset drops all bytes and returns their chunks to the pools. The limit stays.
func (b *Buffer) Reset() { b.Discard(b.len) }

// WriteTo writes everything held to w in a single call and consumes exactly
// what w took; after an error the rest stays. An empty buffer does not call w.
//
// If w is a *net.TCPConn or a *net.UnixConn and there are several chunks,
// they leave by writev(2). To any other writer, which may count or record
// its calls, they are joined and go out in one Write.
func (b *Buffer) WriteTo(w io.Writer) (int64, error) {
	if b.len == 0 {
		return 0, nil
	}
	var n int64
	var err error
	if b.head == b.tail {
		n, err = writeFull(w, b.head.held())
	} else {
		v := newVector()
		defer v.free()
		v.bufs = b.Peek(v.bufs)
		n, err = v.writeTo(w)
	}
	b.Discard(int(n))
	return n, err
}
