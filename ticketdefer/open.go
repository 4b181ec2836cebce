package ticketdefer

import "math"

// OpenInner opens one whole record, header included, at the current sequence number,
// whatever its outer type. It appends to dst what was sealed: the content, the inner
// content type and the padding (RFC 8446 5.2, 5.4). dst must not overlap record,
// unless it is record[5:5]: then record is opened in place. On success the sequence
// number advances; on failure the epoch is unchanged.
//
// It allocates nothing if dst has room for the record less 21 bytes.
func (e *Epoch) OpenInner(dst, record []byte) ([]byte, error) {
	if len(record) < recordHeaderLen || e.seq == math.MaxUint64 || e.wake() != nil {
		return nil, errOpen
	}
	inner, err := e.aead.Open(dst, e.nonce(), record[recordHeaderLen:], record[:recordHeaderLen])
	if err != nil {
		return nil, errOpen
	}
	e.seq++
	return inner, nil
}
