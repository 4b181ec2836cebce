package torture

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// errVanished is what the transport of a side says whose machine is gone.
var errVanished = errors.New("torture: vanished")

const (
	// vanishWithin is more than both flights of a handshake and the data of vanish-at-byte-k take, in bytes.
	vanishWithin = 7 << 10

	vanishBytes = 2 << 10
)

var vanishWays = []string{"the client goes with FIN", "the server goes with FIN", "the client goes with RST", "the server goes with RST"}

func vanishAtByte() Scenario {
	return Scenario{
		Name: "vanish-at-byte-k",
		About: fmt.Sprintf("one side goes after k of its bytes, for k up to %d, with FIN or RST; the other, under test, "+
			"must not hang, panic or be told success", vanishWithin),
		Threat:       FalseReport,
		On:           alsoOn("pipe-strict", "pipe-linux", "segments", "tcp"),
		TrialsPerRun: 2 * len(vanishWays),
		setup: func(t *trial) {
			k := sweep(t, vanishWithin, len(vanishWays))
			t.knobs = fmt.Sprintf("%s after %d bytes", vanishWays[t.index%len(vanishWays)], k)
		},
		client: func(s *side) error { return vanish(s, 0, s.send, s.receive) },
		server: func(s *side) error { return vanish(s, 1, s.receive, s.send) },
		oracle: nobodyIsDeceived,
	}
}

// vanish plays one side of an exchange. parity says in which trials it is the one that goes.
func vanish(s *side, parity int, first, second func(int64) error) error {
	way := s.trial.index % len(vanishWays)
	conn := s.underTest
	if way%2 == parity {
		mortal := &mortalConn{metered: s.transport, left: sweep(s.trial, vanishWithin, len(vanishWays)), reset: way > 1}
		conn = func() Conn { return mortal.speak(s) }
	}
	if err := s.begin(conn()); err != nil {
		return err
	}
	for range 2 {
		if err := first(vanishBytes / 2); err != nil {
			return err
		}
		if err := second(vanishBytes / 2); err != nil {
			return err
		}
	}
	s.meet()
	return s.closeAfterPeer()
}

func nobodyIsDeceived(client, server told) Verdict {
	if v := panicked(client, server); v.Class != OK {
		return v
	}
	for _, side := range []struct {
		name       string
		told, peer told
	}{{"client", client, server}, {"server", server, client}} {
		if errors.Is(side.peer.err, errVanished) {
			if side.told.err == nil {
				return Verdict{Class: SilentLoss, Detail: fmt.Sprintf("the %s was told success by a peer that had gone", side.name)}
			}
			return Verdict{}
		}
	}
	return allArrives(client, server)
}

// A mortalConn is the transport of a side that goes after so many bytes.
type mortalConn struct {
	metered
	left  int
	reset bool
}

// speak makes the side that goes. It is crypto/tls, whatever is under test.
func (c *mortalConn) speak(s *side) Conn {
	if s == s.trial.client {
		return tls.Client(c, s.trial.clientConfig)
	}
	return tls.Server(c, s.trial.serverConfig)
}

func (c *mortalConn) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.metered.Write(p)
	}
	n, err := c.metered.Write(p[:c.left])
	c.left = 0
	if err != nil {
		return n, err
	}
	if c.reset {
		c.metered.(interface{ SetLinger(int) error }).SetLinger(0)
		c.metered.Close()
	} else {
		c.metered.(interface{ CloseWrite() error }).CloseWrite()
	}
	return n, errVanished
}
