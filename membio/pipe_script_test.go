package membio

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The rules of TCP that a pipe keeps are scripts. Each is run over a pipe and,
// on Linux, over the kernel's TCP, so that the kernel says whether the script
// is right. A line is an end, what it does, and what comes of it:
//
//	a write text [= outcome]    outcome is "ok" if not given
//	a read n = text or outcome
//	a fill                      writes until the queues are full
//	a close, a closewrite, a closeread, a linger0   [= outcome]
//	a has n                     n bytes have arrived and are unread
//	a sees fin, a sees reset    it has arrived, noticed by a or not
//
// Over the kernel "has" and "sees" wait; over a pipe it must be so already. A
// line that begins with "pipe:" or "linux:" is for one of them only.

// halfCloser is what *net.TCPConn and *PipeConn have in common.
type halfCloser interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
	SetLinger(sec int) error
}

// overflowing is more bytes than the queues of any subject hold.
const overflowing = 4 << 20

// subject is a connection to run a script over.
type subject struct {
	a, b halfCloser

	unread    func(halfCloser) int
	seesFIN   func(halfCloser) bool
	seesReset func(halfCloser) bool
	await     func(condition func() bool) bool
}

var subjects = map[string]func(t *testing.T) subject{
	"pipe": func(t *testing.T) subject {
		side := PipeSide{SendBuffer: 1000, ReceiveBuffer: 1000}
		return pipeSubject(t, PipeOptions{A: side, B: side})
	},
}

func pipeSubject(t *testing.T, o PipeOptions) subject {
	a, b := Pipe(o)
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return subject{
		a:         a,
		b:         b,
		unread:    func(c halfCloser) int { return c.(*PipeConn).Unread() },
		seesFIN:   func(c halfCloser) bool { return c.(*PipeConn).in.finArrived() },
		seesReset: func(c halfCloser) bool { return c.(*PipeConn).pipe.reset },
		await:     func(condition func() bool) bool { return condition() },
	}
}

func runScript(t *testing.T, subjectName string, s subject, script string) {
	for _, c := range []halfCloser{s.a, s.b} {
		c.SetDeadline(time.Now().Add(time.Minute)) // met only if the test fails
	}
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if only, rest, found := strings.Cut(line, ": "); found {
			if only != subjectName {
				continue
			}
			line = rest
		}
		if line == "" {
			continue
		}
		words, want, _ := strings.Cut(line, "=")
		if want = strings.TrimSpace(want); want == "" {
			want = "ok"
		}
		if got := s.do(strings.Fields(words)); got != want {
			t.Fatalf("%s: got %s", line, got)
		}
	}
}

func (s *subject) do(words []string) (got string) {
	c := map[string]halfCloser{"a": s.a, "b": s.b}[words[0]]
	arg := ""
	if len(words) > 2 {
		arg = words[2]
	}
	number, _ := strconv.Atoi(arg)
	switch words[1] {
	case "write":
		n, err := c.Write([]byte(arg))
		if err == nil && n != len(arg) || err != nil && n != 0 {
			return fmt.Sprintf("%d bytes written, %s", n, outcome(err))
		}
		return outcome(err)
	case "read":
		p := make([]byte, number)
		n, err := c.Read(p)
		if n > 0 && err == nil {
			return string(p[:n])
		}
		return outcome(err)
	case "fill":
		if _, err := fill(c, make([]byte, overflowing)); outcome(err) != "timeout" {
			return outcome(err)
		}
		return "ok"
	case "close":
		return outcome(c.Close())
	case "closewrite":
		return outcome(c.CloseWrite())
	case "closeread":
		return outcome(c.CloseRead())
	case "linger0":
		return outcome(c.SetLinger(0))
	case "has":
		if !s.await(func() bool { return s.unread(c) == number }) {
			return fmt.Sprintf("%d bytes", s.unread(c))
		}
		return "ok"
	case "sees":
		sees := map[string]func(halfCloser) bool{"fin": s.seesFIN, "reset": s.seesReset}[arg]
		if !s.await(func() bool { return sees(c) }) {
			return "no " + arg
		}
		return "ok"
	}
	panic("no such step: " + strings.Join(words, " "))
}

// fill writes p until nothing more is taken, and returns how much was.
func fill(c net.Conn, p []byte) (n int, err error) {
	defer c.SetWriteDeadline(time.Time{})
	for {
		c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		taken, err := c.Write(p[n:])
		n += taken
		// A kernel moves bytes on by itself, and on a busy machine the
		// deadline may pass before it was even asked.
		if outcome(err) != "timeout" || taken == 0 && n > 0 {
			return n, err
		}
	}
}
