package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// Theory of operation.
//
// A pair has two halves, each a goroutine: inward carries from the TLS side to the
// plain side, outward the other way. A half that has carried its stream to the end
// has passed the end on, too, and returns nil. A half that cannot go on returns a
// failure, which names the side that failed, and leaves it to run what becomes of
// the pair: run alone closes.
//
// A failure does not end the other half at once where bytes are still to be
// saved. A peer that resets its connection may have said something before, and that
// lies in the receive queue, where only the other half sees it:
//
//   - The plain side takes nothing more. What it has sent is still carried
//     outward, for lastWords at most; then the TLS peer gets its alert.
//   - The TLS side takes nothing more. Inward goes on to its end, which a reset
//     has put right behind the last byte that arrived. Outward meanwhile reads on and
//     drops what it reads, so that the plain side does not block on a write
//     when it should be reading.
//   - The TLS side sends nothing more, and not in order. What came before is
//     delivered, and then the plain side is reset.

// lastWords is how long what the plain side sent before it failed may take on its way
// to a TLS peer that reads slowly.
const lastWords = 2 * time.Second

var errIdle = errors.New("nothing moved for as long as the idle timeout")

// A side is one of a pair's.
type side string

const (
	tlsSide   side = "tls"
	plainSide side = "plain"
	neither   side = "proxy" // the proxy itself ends the pair
)

// A failure is why a pair did not end in order.
type failure struct {
	side side
	err  error
}

func (f *failure) Error() string { return fmt.Sprintf("%s side: %v", f.side, f.err) }
func (f *failure) Unwrap() error { return f.err }

// A pair is a connection that is carried: a TLS stream whose handshake is complete,
// and a plain connection.
type pair struct {
	tls   *tlsstream.Conn
	wire  *wire // beneath tls
	plain *net.TCPConn

	rule  EndRule
	quiet time.Duration // how long a quiet moment is
	idle  time.Duration

	carried func(from side, n int)
	waited  func() // close_notify had to wait

	spoke    stamp       // bytes went to the TLS peer last
	moved    stamp       // bytes moved anywhere last
	carrying atomic.Bool // inward has bytes that the plain side has not taken

	inwardDone    chan struct{}
	inwardFailure *failure      // set before inwardDone is closed
	deaf          chan struct{} // closed when the TLS side takes nothing more
	deafness      error         // set before deaf is closed
}

// run carries until both sides have ended, one has failed, or ctx is done. It closes
// both, and returns nil if both ended in order, or a *failure.
func (p *pair) run(ctx context.Context) error {
	p.inwardDone = make(chan struct{})
	p.deaf = make(chan struct{})
	p.moved.set()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer startWatch(p.idle, p.lastMoved, func() { cancel(errIdle) }).stop()

	go func() {
		defer close(p.inwardDone)
		p.inwardFailure = p.inward()
	}()
	outward := make(chan *failure, 1)
	outwardDone := make(chan struct{})
	go func() {
		defer close(outwardDone)
		outward <- p.outward(ctx)
	}()

	f := p.await(ctx, outward)
	p.close(ctx, f)
	<-p.inwardDone
	<-outwardDone
	if f != nil {
		return f
	}
	return nil
}

// await returns when nothing more is to be carried, with the reason if that is not
// the end of both sides.
func (p *pair) await(ctx context.Context, outward <-chan *failure) *failure {
	inwardDone, deaf := p.inwardDone, p.deaf
	var hangUp <-chan time.Time
	for inwardDone != nil || outward != nil {
		select {
		case <-inwardDone:
			inwardDone = nil
			switch f := p.inwardFailure; {
			case f == nil:
				// Deaf or not, what it sent was whole.
			case f.side == plainSide && outward != nil && deaf != nil:
				timer := time.NewTimer(lastWords)
				defer timer.Stop()
				hangUp = timer.C
			default:
				return f
			}
		case f := <-outward:
			outward = nil
			if f != nil {
				return f
			}
		case <-deaf:
			deaf = nil
		case <-hangUp:
			return p.inwardFailure
		case <-ctx.Done():
			return &failure{neither, context.Cause(ctx)}
		}
		switch ended := inwardDone == nil; {
		case ended && p.inwardFailure != nil && (outward == nil || deaf == nil):
			return p.inwardFailure
		case ended && deaf == nil:
			return &failure{tlsSide, p.deafness}
		}
	}
	return nil
}

// close ends both sides as f demands.
func (p *pair) close(ctx context.Context, f *failure) {
	if f == nil {
		_ = p.tls.Close() // close_notify has been sent, and the peer's has come
		_ = p.plain.Close()
		return
	}
	p.wire.fail()
	if f.side != tlsSide {
		_ = reset(p.plain)
		_ = p.tls.Abort(tlsstream.AlertInternalError)
		return
	}
	if errors.Is(f.err, tlsstream.ErrTruncated) {
		_ = p.tls.Abort(tlsstream.AlertDecodeError) // as OpenSSL does
	} else {
		_ = p.tls.Close()
	}
	_ = resetBehind(p.plain, p.idle, ctx.Done())
}

// inward carries from the TLS side to the plain side.
func (p *pair) inward() *failure {
	b := &buffer{limit: fullRead}
	for {
		n, err := p.tls.Read(b.next())
		if n > 0 {
			p.carried(tlsSide, n)
			p.moved.set()
			p.carrying.Store(true)
			if _, err := p.plain.Write(b.take(n)); err != nil {
				b.free()
				return &failure{plainSide, err} // and carrying stays: nothing was taken
			}
			p.carrying.Store(false)
			p.moved.set()
		}
		switch {
		case err == io.EOF:
			b.free()
			if err := p.plain.CloseWrite(); err != nil {
				return &failure{plainSide, err}
			}
			return nil
		case err != nil:
			b.free()
			return &failure{tlsSide, err}
		}
	}
}

// outward carries from the plain side to the TLS side.
func (p *pair) outward(ctx context.Context) *failure {
	b := &buffer{limit: sealedRead}
	for {
		n, err := p.plain.Read(b.next())
		if n > 0 {
			p.carried(plainSide, n)
			p.moved.set()
			if _, err := p.tls.Write(b.take(n)); err != nil {
				b.free()
				return p.goDeaf(err)
			}
			p.spoke.set()
			p.moved.set()
		}
		switch {
		case err == io.EOF:
			b.free()
			if p.awaitTurn(ctx) {
				p.waited()
			}
			if p.inwardEnded() && p.inwardFailure != nil {
				return p.inwardFailure // it may be what looked like an end here
			}
			if ctx.Err() != nil {
				return &failure{neither, context.Cause(ctx)}
			}
			// If it fails, the TLS peer has gone. Whether it did so in order is
			// what inward finds out.
			_ = p.tls.CloseWrite()
			return nil
		case err != nil:
			b.free()
			return &failure{plainSide, err}
		}
	}
}

// goDeaf says that the TLS side takes nothing more, and drops what the plain side
// sends until that ends, or is closed.
func (p *pair) goDeaf(err error) *failure {
	p.deafness = err
	close(p.deaf)
	drop := make([]byte, waitingRead)
	for {
		if _, err := p.plain.Read(drop); err != nil {
			return nil
		}
	}
}

func (p *pair) lastMoved() moment { return max(p.moved.get(), p.wire.heard.get()) }
