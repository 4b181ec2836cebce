package membio

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

func TestPipeKeepsTheRulesOfTCP(t *testing.T) {
	for _, rule := range []struct{ name, script string }{
		{"FIN comes after the bytes", `
			b write bye
			b close
			a sees fin
			a read 10 = bye
			a read 10 = EOF
			a read 10 = EOF`},
		{"Close with unread input sends RST, and the peer keeps what it has received", `
			a write unread
			b has 6
			b write hello
			a has 5
			b close
			a sees reset
			a read 3 = hel
			a read 3 = lo
			a read 3 = ECONNRESET
			pipe: a read 3 = ECONNRESET
			linux: a read 3 = EOF
			a write x = EPIPE
			a write x = EPIPE
			a closewrite = ENOTCONN
			a closeread = ENOTCONN`},
		{"a reset is told to a write once", `
			a write unread
			b has 6
			b write hello
			a has 5
			b close
			a sees reset
			a write x = ECONNRESET
			a write x = EPIPE
			a read 10 = hello
			pipe: a read 10 = ECONNRESET
			linux: a read 10 = EOF`},
		{"an empty write is told of a reset", `
			a write unread
			b has 6
			b close
			a sees reset
			a write = ECONNRESET
			a write = EPIPE`},
		{"input that was read does not turn Close into RST", `
			a write read
			b has 4
			b read 10 = read
			b write bye
			b close
			a sees fin
			a read 10 = bye
			a read 10 = EOF`},
		{"linger 0 sends RST", `
			b write data
			a has 4
			b linger0
			b close
			a sees reset
			a read 10 = data
			a read 10 = ECONNRESET`},
		{"a write to a closed peer is answered with RST, told as EPIPE after its FIN", `
			b write bye
			b close
			a sees fin
			a write xyz
			a sees reset
			a write xyz = EPIPE
			a write xyz = EPIPE
			a read 10 = bye
			a read 10 = EOF
			a read 10 = EOF`},
		{"RST after FIN leaves the end of stream readable", `
			a write unread
			b has 6
			b write bye
			b closewrite
			a sees fin
			b close
			a sees reset
			a write x = EPIPE
			a read 10 = bye
			a read 10 = EOF`},
		{"half-close, and the answer after it", `
			a write request
			a closewrite
			b sees fin
			b read 10 = request
			b read 10 = EOF
			b write answer
			b close
			a sees fin
			a read 10 = answer
			a read 10 = EOF
			a write x = EPIPE
			a closewrite = ENOTCONN
			a closeread = ENOTCONN`},
		{"writing after CloseWrite is EPIPE, also of nothing", `
			a closewrite
			a write x = EPIPE
			a write = EPIPE
			a closewrite
			b write x
			a has 1
			a read 1 = x`},
		{"half-close does not save the peer from unread input", `
			a write up
			a closewrite
			b has 2
			b sees fin
			b write down
			a has 4
			b close
			a sees reset
			a read 10 = down
			a read 10 = ECONNRESET
			a write x = EPIPE`},
		{"a reset of two half-closed ends is told to a write, and no end of stream is lost", `
			b write bye
			b closewrite
			a sees fin
			a fill
			a closewrite
			b close
			a sees reset
			a write x = ECONNRESET
			a write x = EPIPE
			a read 10 = bye
			a read 10 = EOF`},
		{"after CloseWrite a write is still told of a reset", `
			a write up
			a closewrite
			b has 2
			b sees fin
			b close
			a sees reset
			a write x = ECONNRESET
			a write x = EPIPE`},
		{"there is no RST once both have sent FIN", `
			a write up
			b has 2
			b write down
			a has 4
			a closewrite
			b sees fin
			b closewrite
			a sees fin
			b close
			a read 10 = down
			a read 10 = EOF
			a write x = EPIPE`},
		{"CloseRead is the reader's own affair", `
			b write x
			a has 1
			a closeread
			a read 10 = x
			a read 10 = EOF
			b write later
			a has 5
			a read 10 = later
			a read 10 = EOF
			a write y
			b has 1
			b read 10 = y
			b write more
			a has 4
			a close
			b sees reset
			b read 10 = ECONNRESET
			b write z = EPIPE`},
		{"bytes for one who has shut both halves are answered with RST", `
			b write queued
			a has 6
			a closeread
			a closewrite
			b sees fin
			b write xyz
			b sees reset
			b read 10 = EOF
			b write xyz = EPIPE
			a read 3 = que
			a read 10 = ued
			a read 10 = ECONNRESET
			a write x = EPIPE`},
		{"a reader that was shut is told of a reset", `
			a closeread
			b linger0
			b close
			a sees reset
			a read 1 = ECONNRESET`},
		{"an end that was closed says so, and not what the peer did", `
			a close
			a read 1 = closed
			a write x = closed
			a closewrite = closed
			a close = closed`},
	} {
		t.Run(rule.name, func(t *testing.T) {
			for name, dial := range subjects {
				t.Run(name, func(t *testing.T) { runScript(t, name, dial(t), rule.script) })
			}
		})
	}
}

func TestPipeRSTMayDiscardWhatWasReceived(t *testing.T) {
	side := PipeSide{SendBuffer: 1000, ReceiveBuffer: 1000}
	o := PipeOptions{A: side, B: side, RSTDiscardsReceived: true}
	runScript(t, "pipe", pipeSubject(t, o), `
		a write unread
		b write hello
		a has 5
		a read 1 = h
		b close
		a has 0
		a read 10 = ECONNRESET
		a read 10 = ECONNRESET
		a write x = EPIPE`)
	// The end of the stream is not readable when bytes before it are lost.
	runScript(t, "pipe", pipeSubject(t, o), `
		a write unread
		b write hello
		b closewrite
		b close
		a read 10 = ECONNRESET`)
}

func TestLockstepPipeIsToldOfAClosedPeerAtOnce(t *testing.T) {
	runScript(t, "pipe", pipeSubject(t, PipeOptions{}), `
		b close
		a sees fin
		a write x = EPIPE
		a write x = EPIPE
		a read 1 = EOF`)
}

// TestPipeFateOfTheUnsentQueue fills the path from b to a and closes b: the
// bytes that have not left b are delivered if a FIN follows them, and lost if
// b has unread input.
func TestPipeFateOfTheUnsentQueue(t *testing.T) {
	for name, dial := range subjects {
		for _, unread := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/unread=%v", name, unread), func(t *testing.T) {
				s := dial(t)
				want := pattern(overflowing)
				sent, err := fill(s.b, want)
				if outcome(err) != "timeout" {
					t.Fatalf("%d bytes were taken, %v, want full queues", sent, err)
				}
				// With bytes before it, the FIN does not arrive, so that it
				// cannot make a reset look like the end of the stream.
				s.b.CloseWrite()
				if unread {
					runScript(t, name, s, "a write x\n b has 1")
				}
				s.b.Close()
				if !unread {
					got, err := io.ReadAll(s.a)
					if !bytes.Equal(got, want[:sent]) || err != nil {
						t.Errorf("%d bytes of %d arrived, %v", len(got), sent, err)
					}
					return
				}
				if !s.await(func() bool { return s.seesReset(s.a) }) {
					t.Fatal("no reset")
				}
				received := s.unread(s.a)
				got, err := io.ReadAll(s.a)
				if outcome(err) != "ECONNRESET" {
					t.Errorf("after %d bytes: %v", len(got), err)
				}
				if len(got) != received || received == 0 || received >= sent || !bytes.Equal(got, want[:received]) {
					t.Errorf("%d bytes read; %d were received of %d sent", len(got), received, sent)
				}
			})
		}
	}
}
