package ticketdefer

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// A nonceAudit looks at everything that reached the wire and finds out, by
// trying, under which keys and at which sequence number each record is sealed.
// It follows nobody's KeyUpdates, so it also sees a record that should not have
// been let out.
type nonceAudit struct {
	epochs []*Epoch // generation by generation
	seen   map[[2]uint64][]byte
}

func newNonceAudit(t testing.TB, cipherSuite uint16, secret []byte, generations int) *nonceAudit {
	t.Helper()
	a := &nonceAudit{seen: make(map[[2]uint64][]byte)}
	e, err := NewEpoch(cipherSuite, secret)
	for range generations + 1 {
		if err != nil {
			t.Fatal(err)
		}
		a.epochs = append(a.epochs, e)
		e, err = e.next()
	}
	return a
}

// check fails if two different records have the same keys and sequence number,
// if one has none that this side can have come to, or if they are out of order.
func (a *nonceAudit) check(t testing.TB, wire []byte) {
	t.Helper()
	var last [2]uint64
	for i, record := range records(t, wire) {
		if record[0] != recordApplicationData {
			continue
		}
		at, ok := a.find(record, last[0])
		if !ok {
			if len(a.seen) == 0 {
				continue // sealed under handshake keys
			}
			t.Fatalf("record %d of %d bytes is sealed under no keys of this side", i, len(record))
		}
		if other, ok := a.seen[at]; ok && !bytes.Equal(other, record) {
			t.Fatalf("record %d: key generation %d, sequence %d is used twice on the wire", i, at[0], at[1])
		}
		if len(a.seen) > 0 && !slices.Contains([][2]uint64{{last[0], last[1] + 1}, {last[0] + 1, 0}}, at) {
			t.Fatalf("record %d: key generation %d, sequence %d, behind %d, %d", i, at[0], at[1], last[0], last[1])
		}
		a.seen[at], last = record, at
	}
}

// find tries all keys; near is where to begin.
func (a *nonceAudit) find(record []byte, near uint64) (at [2]uint64, ok bool) {
	for i := range uint64(len(a.epochs)) {
		generation := (near + i) % uint64(len(a.epochs))
		for sequence := range uint64(64) {
			e := *a.epochs[generation]
			e.seq = sequence
			if _, _, err := e.Open(nil, record); err == nil {
				return [2]uint64{generation, sequence}, true
			}
		}
	}
	return at, false
}

// Collapsed KeyUpdates are sealed under nonces that are used again, so none of
// them may ever be seen: whatever the order of requests, responses, flushes and
// the end, no nonce is on the wire twice.
func TestNoNonceIsOnTheWireTwice(t *testing.T) {
	for _, h := range halves {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s/%d", h.name, seed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 2))
				a, b := tlstest.TCPPair(t)
				wire := &recorder{Conn: a}
				c, p, stats := h.start(t, layers[0], wire, b)
				secret := bytes.Clone(p.in.secret)
				conn := c.NetConn().(*Conn)
				for range 25 {
					switch rng.IntN(6) {
					case 0, 1:
						flood(t, p, c, rng.IntN(6))
					case 2:
						flood(t, p, c, maxHeldKeyUpdates+1+rng.IntN(5))
					case 3, 4:
						for range 1 + rng.IntN(3) {
							mustWrite(t, c, randomBytes(seed, 1+rng.IntN(8)))
						}
					case 5:
						if err := conn.FlushTickets(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if rng.IntN(2) == 0 {
					if err := c.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					flood(t, p, c, 8)
				}
				c.Close()
				audit := newNonceAudit(t, tls.TLS_AES_128_GCM_SHA256, secret, int(stats().KeyUpdates))
				audit.check(t, slices.Concat(wire.take()...))
				if stats().CollapsedKeyUpdates == 0 {
					t.Error("nothing collapsed: this seed proves nothing")
				}
			})
		}
	}
}

// The audit itself: it must find what it is there for.
func TestNonceAuditFindsReuse(t *testing.T) {
	a, b := epochPair(t, suites[0], 5)
	c, d := epochPair(t, suites[0], 5)
	for name, wire := range map[string][]byte{
		"reuse":         b.Seal(a.Seal(nil, recordApplicationData, []byte("one")), recordApplicationData, []byte("two")),
		"out of order":  slices.Concat(c.Seal(nil, recordApplicationData, nil), func() []byte { c.seq = 7; return c.Seal(nil, recordApplicationData, nil) }()),
		"foreign key":   slices.Concat(d.Seal(nil, recordApplicationData, nil), func() []byte { o, _ := epochPair(t, suites[0], 6); return o.Seal(nil, recordApplicationData, nil) }()),
		"skipped a key": slices.Concat(func() []byte { e, _ := epochPair(t, suites[0], 5); return twoGenerations(t, e) }()),
	} {
		t.Run(name, func(t *testing.T) {
			f := &failing{TB: t}
			func() {
				defer func() {
					if r := recover(); r != nil && r != f {
						panic(r)
					}
				}()
				newNonceAudit(t, suites[0].id, bytes.Repeat([]byte{5}, 32), 3).check(f, wire)
			}()
			if !f.failed {
				t.Error("the audit found nothing")
			}
		})
	}
}

func twoGenerations(t *testing.T, e *Epoch) []byte {
	p := e.Seal(nil, recordApplicationData, nil)
	for range 2 {
		if err := e.Update(); err != nil {
			t.Fatal(err)
		}
	}
	return e.Seal(p, recordApplicationData, nil)
}

// A failing notes that a test would have failed.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper() {}
func (f *failing) Fatalf(string, ...any) {
	f.failed = true
	panic(f)
}
