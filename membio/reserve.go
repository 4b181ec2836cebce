package membio

// MaxReserve is the most that Reserve gives, in bytes.
const MaxReserve = chunkBytes

// Reserve returns memory for n bytes, at most [MaxReserve], behind all that b
// holds, whatever its limit. They lie in one piece, so that a record can be sealed
// where it is going to wait. Nothing is held until the caller has filled them and
// calls Commit with at least 1, which must be the next call on b.
func (b *Buffer) Reserve(n int) []byte {
	if n < 0 || n > MaxReserve {
		panic("membio: Reserve of more bytes than a chunk has")
	}
	if b.tail == nil || chunkBytes-b.tail.end < n {
		b.addChunk()
	}
	end := b.tail.end
	return b.tail.data[end : end+n : end+n]
}

// Commit holds the first n bytes of what Reserve has returned.
func (b *Buffer) Commit(n int) {
	if n <= 0 || b.tail == nil || n > chunkBytes-b.tail.end {
		panic("membio: Commit of more bytes than were reserved")
	}
	b.tail.end += n
	b.len += n
}

// Front returns the first bytes held, as many as lie in one piece; nil if there are
// none. They are valid as those of Peek.
func (b *Buffer) Front() []byte {
	if b.len == 0 {
		return nil
	}
	return b.head.held()
}
