package torture

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A player plays one side of a program over a stream, and keeps what the application is told.
type player struct {
	side      int
	ops       []op
	transport *grantedConn

	// make returns the stream. It must not do I/O.
	make func(*grantedConn) Conn

	log playLog
}

// A playLog is what one side did and was told.
type playLog struct {
	handshake opResult
	ops       []opResult
	aftermath opResult // of the Close that follows a failure

	written   int // bytes that Write accepted
	delivered int // bytes that Read returned, up to the first wrong one
	wrong     Class
	finished  bool // CloseWrite or Close was called
	cut       bool // the transport was closed beneath the stream
	finless   bool // CloseWrite left the transport open, as crypto/tls does
	closeTook time.Duration
	panicked  *panicError // nil if the stream has not
}

// An opResult is what an op came to.
type opResult struct {
	kind opOutcome
	n    int // bytes, of a write or a read
	err  error
}

type opOutcome string

const (
	notReached opOutcome = ""
	succeeded  opOutcome = "ok"
	sawEnd     opOutcome = "end of stream"
	failed     opOutcome = "failure"
	blocked    opOutcome = "blocked for ever"
)

// play is the side's script.
func (p *player) play() {
	defer func() {
		if v := recover(); v != nil {
			p.log.panicked = &panicError{v, debug.Stack()}
			p.transport.Close()
		}
	}()
	conn := p.make(p.transport)
	p.step(conn, "handshake")
	p.log.handshake = p.result(0, conn.Handshake())
	p.step(conn, "")
	if p.log.handshake.kind == succeeded {
		p.transport.do(callBegin, nil)
		p.playOps(conn)
	}
	if n := len(p.log.ops); p.log.handshake.kind == failed || n > 0 && p.log.ops[n-1].kind == failed && p.ops[n-1].kind != opClose {
		// An application that meets a failure closes.
		p.log.finished = true
		p.log.aftermath = p.close(conn)
	}
}

func (p *player) playOps(conn Conn) {
	for _, o := range p.ops {
		if p.stopped() {
			return
		}
		p.step(conn, o.String())
		r := p.do(conn, o)
		p.step(conn, "")
		p.log.ops = append(p.log.ops, r)
		if r.kind == failed || r.kind == blocked {
			return
		}
	}
}

// step takes down on tape that a step begins, or, if it has no name, has ended; and what the stream's layer holds now.
func (p *player) step(conn Conn, name string) {
	tape := p.transport.schedule.tape
	if tape == nil {
		return
	}
	if name != "" {
		tape.step(p.side, name)
	}
	if engine, ok := conn.(*engineConn); ok {
		tape.layer(p.side, engine.engine.Stats())
	} else if stats, ok := tlsstream.StatsOf(conn); ok {
		tape.layer(p.side, stats)
	}
}

func (p *player) stopped() bool { return p.transport.schedule.stopped.Load() }

// result is what a call came to. A call that a deadlock has ended did not come back by itself.
func (p *player) result(n int, err error) opResult {
	switch {
	case p.stopped():
		return opResult{kind: blocked, n: n}
	case err == io.EOF:
		return opResult{kind: sawEnd, n: n}
	case err != nil:
		return opResult{failed, n, err}
	}
	return opResult{kind: succeeded, n: n}
}

func (p *player) do(conn Conn, o op) opResult {
	switch o.kind {
	case opWrite:
		n, err := conn.Write(pattern(p.side, p.log.written, o.n))
		p.log.written += n
		return p.result(n, err)
	case opRead:
		return p.read(conn, o.n)
	case opEnd:
		return p.read(conn, -1)
	case opFin:
		p.log.finished = true
		half, ok := conn.(interface{ CloseWrite() error })
		if !ok {
			return opResult{kind: succeeded}
		}
		err := half.CloseWrite()
		p.log.finless = !p.transport.halfClosed
		return p.result(0, err)
	case opClose:
		p.log.finished = true
		return p.close(conn)
	case opWait:
		_, err := p.transport.do(callWait, nil)
		return p.result(0, err)
	case opReset:
		p.transport.SetLinger(0)
	}
	p.log.cut = !p.log.finished
	p.transport.schedule.tape.closes(p.side, entryClose)
	return p.result(0, p.transport.Close())
}

func (p *player) close(conn Conn) opResult {
	start := p.transport.now()
	err := conn.Close()
	p.log.closeTook = p.transport.now() - start
	return p.result(0, err)
}

// read reads n bytes, or to the end of the stream if n is negative.
func (p *player) read(conn Conn, n int) opResult {
	buf := readBuffers.Get().(*[readBufferBytes]byte)
	defer readBuffers.Put(buf)
	got := 0
	for n < 0 || got < n {
		into := buf[:]
		if n > 0 {
			into = buf[:min(n-got, len(buf))]
		}
		k, err := conn.Read(into)
		p.check(into[:k])
		got += k
		if err != nil && (got != n || err != io.EOF) || k == 0 && p.stopped() {
			return p.result(got, err)
		}
	}
	return p.result(got, nil)
}

// check compares what came with what the peer writes.
func (p *player) check(got []byte) {
	if p.log.wrong != OK || len(got) == 0 {
		return
	}
	want := pattern(1-p.side, p.log.delivered, len(got))
	right := 0
	for right < len(got) && got[right] == want[right] {
		right++
	}
	p.log.delivered += right
	if right == len(got) {
		return
	}
	p.log.wrong = Corrupted
	const telling = 8 // bytes, too many to come together by chance
	if rest := got[right:]; len(rest) >= telling && bytes.Contains(patterns[1-p.side], rest[:telling]) {
		p.log.wrong = Reordered
	}
}

const (
	readBufferBytes = 4 << 10
	patternBytes    = 65_521 // a prime, so that no power of two repeats it
)

// patterns are what each side writes, over and over.
var patterns = func() (p [2][]byte) {
	for side := range p {
		p[side] = make([]byte, patternBytes)
		rand.NewChaCha8(sha256.Sum256([]byte(sideNames[side]))).Read(p[side])
	}
	return p
}()

// pattern returns n bytes of what a side writes, from an offset on. They must not be changed.
func pattern(side, from, n int) []byte {
	all := patterns[side]
	from %= len(all)
	if from+n <= len(all) {
		return all[from : from+n]
	}
	p := make([]byte, 0, n)
	for len(p) < n {
		p = append(p, all[from:min(len(all), from+n-len(p))]...)
		from = 0
	}
	return p
}
