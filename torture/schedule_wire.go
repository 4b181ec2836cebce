package torture

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
)

// A socketPair is a TCP connection as a state machine: what a call does, and whether it would block, is computed, and nothing
// waits. The rules are those of membio.Pipe, and TestWireKeepsTheRulesOfThePipe holds it to them.
type socketPair struct {
	ends [2]wireEnd
	wireOptions

	reset   bool
	segment *rand.Rand // sizes of segments; nil if there are none
}

// wireOptions describe a wire. Both directions are alike.
type wireOptions struct {
	sendBuffer    int // bytes
	receiveBuffer int
	maxSegment    int  // a read returns at most so many bytes, by chance fewer; no limit if zero
	rstDiscards   bool // an RST discards what its receiver has not read, as RFC 1122 allows
	seed          uint64
}

// A wireEnd is one side's half of a wire: its socket, and the flow that it sends.
type wireEnd struct {
	isClosed   bool
	lingerZero bool
	resetErr   syscall.Errno // what the next write reports, once the wire is reset

	send   queue  // not yet at the peer
	recv   queue  // of the peer's flow: arrived here and not read
	offer  []byte // the rest of a write in progress
	fin    bool   // this end sends no more
	broken bool   // an RST came before the FIN could arrive at the peer

	lost int // bytes that a reset has destroyed, of those that this end had written
}

// A queue is a FIFO of bytes.
type queue struct {
	bytes []byte
	start int
}

func (q *queue) len() int { return len(q.bytes) - q.start }

func (q *queue) add(p []byte) { q.bytes = append(q.bytes, p...) }

// head returns the first n bytes, which drop removes.
func (q *queue) head(n int) []byte { return q.bytes[q.start : q.start+n] }

func (q *queue) drop(n int) {
	if q.start += n; q.start == len(q.bytes) {
		q.bytes, q.start = q.bytes[:0], 0
	}
}

func newWire(o wireOptions) *socketPair {
	w := &socketPair{wireOptions: o}
	if o.maxSegment > 0 {
		w.segment = rand.New(rand.NewPCG(o.seed, 0))
	}
	return w
}

// readable reports whether a read returns at once, and why if that is for an end.
func (w *socketPair) readable(side int) (ok bool, end error) {
	end = nil
	e, peer := &w.ends[side], &w.ends[1-side]
	switch {
	case e.isClosed:
		return true, net.ErrClosed
	case e.recv.len()+peer.send.len()+len(peer.offered()) > 0:
		return true, nil
	case peer.broken:
		return true, os.NewSyscallError("read", syscall.ECONNRESET)
	case peer.finArrived():
		return true, io.EOF
	}
	return false, nil
}

// read is to be called when readable has said so.
func (w *socketPair) read(side int, p []byte) (int, error) {
	_, end := w.readable(side)
	if end != nil {
		if end != io.EOF && end != net.ErrClosed {
			w.ends[side].resetErr = syscall.EPIPE
		}
		return 0, end
	}
	if w.segment != nil {
		p = p[:min(len(p), 1+w.segment.IntN(w.maxSegment))]
	}
	e, peer := &w.ends[side], &w.ends[1-side]
	var n int
	switch {
	case e.recv.len() > 0:
		n = min(len(p), e.recv.len())
		copy(p, e.recv.head(n))
		e.recv.drop(n)
	case peer.send.len() > 0:
		n = min(len(p), peer.send.len())
		copy(p, peer.send.head(n))
		peer.send.drop(n)
	default:
		n = copy(p, peer.offered())
		peer.offer = peer.offer[n:]
	}
	w.push(1 - side)
	return n, nil
}

// startWrite offers p to the peer. The write is over when wrote says so.
func (w *socketPair) startWrite(side int, p []byte) {
	w.ends[side].offer = p
	if w.writeError(side) == nil {
		w.push(side)
	}
}

// wrote reports whether the write in progress is over.
func (w *socketPair) wrote(side int) bool {
	return len(w.ends[side].offer) == 0 || w.writeError(side) != nil
}

// endWrite ends the write in progress, and returns how many bytes were not taken.
func (w *socketPair) endWrite(side int) (left int, err error) {
	e := &w.ends[side]
	left, e.offer = len(e.offer), nil
	if left > 0 {
		if err = w.writeError(side); err != nil && w.reset {
			e.resetErr = syscall.EPIPE
		}
	}
	return left, err
}

func (w *socketPair) writeError(side int) error {
	switch e := &w.ends[side]; {
	case e.isClosed:
		return net.ErrClosed
	case w.reset:
		return os.NewSyscallError("write", e.resetErr)
	case e.fin:
		return os.NewSyscallError("write", syscall.EPIPE)
	}
	return nil
}

// push moves what a side has written as far as there is room.
func (w *socketPair) push(side int) {
	e, peer := &w.ends[side], &w.ends[1-side]
	if peer.isClosed && w.arriving(side) {
		room := w.sendBuffer - e.send.len() + w.receiveBuffer - peer.recv.len()
		n := min(len(e.offered()), room)
		e.offer = e.offer[n:]
		e.lost += n
		w.sendReset(1 - side)
		return
	}
	if n := min(e.send.len(), w.receiveBuffer-peer.recv.len()); n > 0 {
		peer.recv.add(e.send.head(n))
		e.send.drop(n)
	}
	if e.send.len() == 0 {
		if n := min(len(e.offered()), w.receiveBuffer-peer.recv.len()); n > 0 {
			peer.recv.add(e.offer[:n])
			e.offer = e.offer[n:]
		}
	}
	if n := min(len(e.offered()), w.sendBuffer-e.send.len()); n > 0 {
		e.send.add(e.offer[:n])
		e.offer = e.offer[n:]
	}
}

func (e *wireEnd) offered() []byte {
	if e.fin {
		return nil
	}
	return e.offer
}

func (e *wireEnd) finArrived() bool { return e.fin && !e.broken && e.send.len() == 0 }

// arriving reports whether the window lets bytes of the side through that have not reached the peer's queue.
func (w *socketPair) arriving(side int) bool {
	e, peer := &w.ends[side], &w.ends[1-side]
	return e.send.len()+len(e.offered()) > 0 && (w.receiveBuffer == 0 || peer.recv.len() < w.receiveBuffer)
}

func (w *socketPair) over() bool {
	return w.reset || w.ends[0].finArrived() && w.ends[1].finArrived()
}

// close is close(2): see membio.PipeConn.Close.
func (w *socketPair) close(side int) error {
	e, peer := &w.ends[side], &w.ends[1-side]
	if e.isClosed {
		return net.ErrClosed
	}
	e.isClosed = true
	switch {
	case w.over():
	case e.lingerZero || w.arriving(1-side) || e.recv.len() > 0:
		w.sendReset(side)
	default:
		e.fin = true
	}
	peer.lost += e.recv.len()
	e.recv.drop(e.recv.len())
	return nil
}

// closeWrite is shutdown(2) of the sending half.
func (w *socketPair) closeWrite(side int) error {
	switch e := &w.ends[side]; {
	case e.isClosed:
		return net.ErrClosed
	case w.over():
		return os.NewSyscallError("shutdown", syscall.ENOTCONN)
	default:
		e.fin = true
	}
	return nil
}

// sendReset sends an RST to the side's peer, and ends the connection for both.
func (w *socketPair) sendReset(side int) {
	for i := range w.ends {
		// tcp_reset in net/ipv4/tcp_input.c: in CLOSE_WAIT, after the peer's FIN and before its own, it is EPIPE.
		w.ends[i].resetErr = syscall.ECONNRESET
		if w.ends[1-i].finArrived() && !w.ends[i].fin {
			w.ends[i].resetErr = syscall.EPIPE
		}
	}
	for i := range w.ends {
		e := &w.ends[i]
		e.broken = !e.finArrived()
		e.fin = true
		e.lost += e.send.len()
		e.send.drop(e.send.len())
	}
	if peer := &w.ends[1-side]; w.rstDiscards && peer.recv.len() > 0 {
		w.ends[side].lost += peer.recv.len()
		peer.recv.drop(peer.recv.len())
		w.ends[side].broken = true
	}
	w.reset = true
}
