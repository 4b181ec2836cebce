package ticketdefer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A transport that is closed without close_notify, in a Write or after a failed
// handshake, drops what is held. Nothing behind it may leave alone: the peer
// could not open it.
func TestOrderNothingPassesAfterWipe(t *testing.T) {
	forEachGate(t, func(t *testing.T, s *stack) {
		for _, collapsed := range []bool{false, true} {
			s := newStack(t, &Gate{client: s.gate.client}, s.app.suite)
			s.handshake()
			s.ticket(300, maxPlaintext, 0)
			if collapsed {
				for range maxHeldKeyUpdates + 1 {
					s.update(0)
				}
			}
			s.gate.Wipe()
			due, err := s.gate.Filter(nil, s.app.Seal(nil, recordApplicationData, []byte("data")))
			if len(due) != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("collapsed=%v: %d bytes due, %v", collapsed, len(slices.Concat(due...)), err)
			}
			if due := s.gate.Release(); len(due) != 0 {
				t.Errorf("collapsed=%v: Release gave %d bytes", collapsed, len(slices.Concat(due...)))
			}
			mustEqual(t, "deferral", DeferralOn.String(), s.gate.Stats().Deferral.String())
		}
	})
}

// Close at any moment of a Write leaves a stream that may be cut short, but
// every record of which opens.
func TestOrderCloseDuringWrite(t *testing.T) {
	for _, h := range halves {
		t.Run(h.name, func(t *testing.T) {
			for i := range 60 {
				a, b := tlstest.TCPPair(t)
				c, p, _ := h.start(t, layers[0], a, b)
				flood(t, p, c, i%7)
				started := make(chan struct{})
				var writing sync.WaitGroup
				writing.Go(func() {
					for n := 0; ; n++ {
						if n == i%3 {
							close(started)
						}
						if _, err := c.Write(make([]byte, 40)); err != nil {
							return
						}
					}
				})
				<-started
				c.Close()
				writing.Wait()
				if _, err := p.end(); errors.Is(err, errOpen) {
					t.Fatalf("run %d: %v", i, err)
				}
			}
		})
	}
}

// All methods at once; the race detector watches.
func TestMethodsMayBeCalledConcurrently(t *testing.T) {
	for _, h := range halves {
		t.Run(h.name, func(t *testing.T) {
			a, b := tlstest.TCPPair(t)
			c, p, stats := h.start(t, layers[0], a, b)
			conn := c.NetConn().(*Conn)
			var busy sync.WaitGroup
			for range 3 {
				busy.Go(func() {
					for range 100 {
						c.Write([]byte("five!"))
					}
				})
				busy.Go(func() {
					for range 100 {
						conn.FlushTickets()
						stats()
						find(c)
					}
				})
			}
			flood(t, p, c, 500)
			busy.Wait()
			want := ""
			for range 300 {
				want += "five!"
			}
			p.expect(t, want)

			for range 3 {
				busy.Go(func() { io.Copy(io.Discard, c) })
				busy.Go(func() {
					for range 100 {
						c.Write([]byte("x"))
					}
				})
				busy.Go(func() { conn.FlushTickets() })
			}
			for range 2 {
				busy.Go(func() { c.Close() })
			}
			busy.Wait()
			if _, err := p.end(); errors.Is(err, errOpen) {
				t.Error(err)
			}
		})
	}
}

// Without TLS a Conn is as good a net.Conn as what it is over.
func TestPlainConnPassesNettest(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := net.Pipe()
		c1, c2 = WrapConn(a), WrapConn(b)
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

// The layer's copies of a secret are overwritten: those it tried in vain when
// the epoch is found, the rest at Close.
func TestSecretsAreWipedWithTheGate(t *testing.T) {
	s := newStack(t, NewServerGate(), suites[0])
	s.gate.AddSecret(bytes.Repeat([]byte{1}, 32))
	s.gate.AddSecret(bytes.Repeat([]byte{2}, 48))
	s.handshake() // tries all candidates
	var copies [][]byte
	for _, c := range s.gate.candidates {
		copies = append(copies, c.secret)
		for _, e := range c.epochs {
			copies = append(copies, e.secret)
		}
	}
	s.data([]byte("data"), 0)
	s.deferral(DeferralOn)
	own := 0
	for i, secret := range copies {
		switch {
		case bytes.Equal(secret, make([]byte, len(secret))):
		case bytes.Equal(secret, s.gate.inner.secret):
			own++
		default:
			t.Errorf("copy %d of %d bytes was left behind", i, len(secret))
		}
	}
	mustEqual(t, "copies of the secret in use", 1, own)
	for range maxHeldKeyUpdates + 2 {
		s.update(0)
	}
	s.release()
	s.update(0)
	inner, wire := s.gate.inner.secret, s.gate.wire.secret
	s.gate.Wipe()
	mustEqual(t, "inner", make([]byte, 32), inner)
	mustEqual(t, "wire", make([]byte, 32), wire)
}
