package torture

import "net"

// An exactReader hands over one record at a time and never a byte of the next, as OpenSSL and GnuTLS read. crypto/tls
// reads ahead, which takes a small ticket out of the kernel by chance, and then the close that follows harms nobody.
type exactReader struct {
	net.Conn
	header [headerBytes]byte
	have   int // bytes of header read
	body   int // bytes of the record's body still to come
}

func (r *exactReader) Read(p []byte) (int, error) {
	if r.body > 0 {
		n, err := r.Conn.Read(p[:min(len(p), r.body)])
		r.body -= n
		return n, err
	}
	n, err := r.Conn.Read(p[:min(len(p), len(r.header)-r.have)])
	r.have += copy(r.header[r.have:], p[:n])
	if r.have == len(r.header) {
		r.have = 0
		r.body = int(r.header[3])<<8 | int(r.header[4])
	}
	return n, err
}
