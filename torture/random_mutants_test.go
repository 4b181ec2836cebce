package torture

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A mutant is the engine's stack with one thing wrong.
type mutant struct {
	*engineConn
	write func(m *mutant, p []byte) (int, error)
	read  func(m *mutant, p []byte) (int, error)
	close func(m *mutant) error
	after func(m *mutant) error // the handshake

	kept []byte
	got  int
}

func (m *mutant) Write(p []byte) (int, error) {
	if m.write != nil {
		return m.write(m, p)
	}
	return m.engineConn.Write(p)
}

func (m *mutant) Read(p []byte) (int, error) {
	if m.read != nil {
		return m.read(m, p)
	}
	return m.engineConn.Read(p)
}

func (m *mutant) Close() error {
	if m.close != nil {
		return m.close(m)
	}
	return m.engineConn.Close()
}

func (m *mutant) Handshake() error {
	err := m.engineConn.Handshake()
	if err == nil && m.after != nil {
		err = m.after(m)
	}
	return err
}

// mutatedEngine makes both ends of the engine's stack wrong.
func mutatedEngine(mutate func(*mutant)) Stack {
	mutated := func(of func(net.Conn, *tls.Config) Conn) func(net.Conn, *tls.Config) Conn {
		return func(conn net.Conn, config *tls.Config) Conn {
			m := &mutant{engineConn: of(conn, config).(*engineConn)}
			mutate(m)
			return m
		}
	}
	stack := TlsstreamEngine()
	stack.Name = "mutant"
	stack.Server, stack.Client = mutated(stack.Server), mutated(stack.Client)
	return stack
}

// mutants are what random-ops must catch.
var mutants = []struct {
	name   string
	mutate func(*mutant)
	want   []Class
}{
	{"keeps the last write back, and drops it on close", func(m *mutant) {
		m.write = func(m *mutant, p []byte) (int, error) {
			kept := m.kept
			m.kept = append([]byte(nil), p...)
			_, err := m.engineConn.Write(kept)
			return len(p), err
		}
	}, []Class{SilentLoss, Deadlock, WrongError}},
	{"drops held records on close, and close_notify with them", func(m *mutant) {
		m.close = func(m *mutant) error { return m.Conn.Close() }
	}, []Class{WrongError}},
	{"writes tickets in Read", func(m *mutant) {
		m.read = func(m *mutant, p []byte) (int, error) {
			m.engine.FlushTickets()
			if err := m.flush(); err != nil {
				return 0, err
			}
			return m.engineConn.Read(p)
		}
	}, []Class{SilentLoss, Lost, WrongError, Deadlock}},
	{"sends tickets after the handshake", func(m *mutant) {
		m.after = func(m *mutant) error {
			m.engine.FlushTickets()
			return m.flush()
		}
	}, []Class{SilentLoss, Lost, WrongError, Deadlock}},
	{"blocks Read on a write", func(m *mutant) {
		m.read = func(m *mutant, p []byte) (int, error) {
			if n, err := m.engineConn.Write([]byte{0}); err != nil {
				return n, err
			}
			return m.engineConn.Read(p)
		}
	}, []Class{Corrupted, SilentLoss, WrongError, Deadlock}},
	{"takes a FIN for the end of the stream", func(m *mutant) {
		m.read = func(m *mutant, p []byte) (int, error) {
			n, err := m.engineConn.Read(p)
			if err == tlsstream.ErrTruncated {
				err = io.EOF
			}
			return n, err
		}
	}, []Class{SilentLoss}},
	{"reports truncation where there is none", func(m *mutant) {
		m.read = func(m *mutant, p []byte) (int, error) {
			n, err := m.engineConn.Read(p)
			if m.got += n; err == io.EOF && m.got > 1000 {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}, []Class{WrongError}},
	{"sends the second half of a write first", func(m *mutant) {
		m.write = func(m *mutant, p []byte) (int, error) {
			half := len(p) / 2
			n, err := m.engineConn.Write(p[half:])
			if err != nil {
				return n, err
			}
			k, err := m.engineConn.Write(p[:half])
			return n + k, err
		}
	}, []Class{Reordered, Corrupted}}, // of a single byte nobody knows where it belongs
	{"flips a bit", func(m *mutant) {
		m.read = func(m *mutant, p []byte) (int, error) {
			n, err := m.engineConn.Read(p)
			if n > 0 && m.got < 2000 && m.got+n > 2000 {
				p[0] ^= 1
			}
			m.got += n
			return n, err
		}
	}, []Class{Corrupted}},
	{"answers Close when the peer has closed", func(m *mutant) {
		m.close = func(m *mutant) error {
			err := m.engineConn.CloseWrite()
			for err == nil {
				_, err = m.engineConn.Read(make([]byte, 100))
			}
			return m.Conn.Close()
		}
	}, []Class{HungClose, Deadlock}},
	{"answers Close late", func(m *mutant) {
		m.close = func(m *mutant) error {
			m.engine.CloseWrite()
			m.Conn.SetDeadline(time.Now().Add(time.Minute))
			m.flush()
			m.Conn.(interface{ CloseWrite() error }).CloseWrite()
			for {
				if _, err := m.engineConn.Read(make([]byte, 100)); err != nil {
					m.engine.Close() // or a handshake would go on for ever
					return m.Conn.Close()
				}
			}
		}
	}, []Class{HungClose}},
	{"fails a Write when the peer has ended its stream", func(m *mutant) {
		m.read = func(m *mutant, p []byte) (int, error) {
			n, err := m.engineConn.Read(p)
			if err == io.EOF {
				m.got = -1
			}
			return n, err
		}
		m.write = func(m *mutant, p []byte) (int, error) {
			if m.got < 0 {
				return 0, errors.New("mutant: broken")
			}
			return m.engineConn.Write(p)
		}
	}, []Class{WrongError, Lost}},
	{"closes without FIN after close_notify", func(m *mutant) {
		m.close = func(m *mutant) error {
			m.engine.Close()
			m.flush()
			m.Conn.(interface{ SetLinger(int) error }).SetLinger(0)
			return m.Conn.Close()
		}
	}, []Class{SilentLoss, Lost, WrongError}},
}

// A few thousand programs are what a run with the default settings plays.
const mutantPrograms = 6000

func TestRandomOpsCatchesEveryMutant(t *testing.T) {
	id := testIdentity(t)
	var table strings.Builder
	for _, broken := range mutants {
		stack := mutatedEngine(broken.mutate)
		caught := false
		for i := 0; i < mutantPrograms && !caught; i++ {
			if v := playRandom(t, &stack, id, i); v.Class.failed() {
				caught = true
				fmt.Fprintf(&table, "%-60s %5d  %v\n", broken.name, i+1, v.Class)
				expected := false
				for _, class := range broken.want {
					expected = expected || class == v.Class
				}
				if !expected {
					t.Errorf("%s: %v, want one of %v", broken.name, v, broken.want)
				}
			}
		}
		if !caught {
			t.Errorf("%s: not caught by %d programs", broken.name, mutantPrograms)
		}
	}
	t.Logf("programs until each was caught:\n%s", &table)
}
