package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/deferredtls/deferredtls/tlsstream"
)

func isRaceReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN) ||
		errors.Is(err, io.ErrClosedPipe) // net.Pipe says so of a peer that has closed
}

// A racePeer runs both handshakes, then plays the other side until its transport
// is closed; the channel is closed when it is done.
type racePeer func(t *testing.T, r *raceRound, conn net.Conn, client bool, config *tls.Config, random *rand.Rand) <-chan struct{}

var racePeers = []racePeer{raceFriend, raceFriend, raceFriend, raceMute, raceRude, raceRude}

// raceFriend reads to the end and writes now and then. What it receives is never
// out of step.
func raceFriend(t *testing.T, r *raceRound, conn net.Conn, client bool, config *tls.Config, random *rand.Rand) <-chan struct{} {
	peer := newRaceFriend(conn, client, config)
	shaken := make(chan error, 1)
	go func() { shaken <- peer.Handshake() }()
	if err := errors.Join(r.conn.Handshake(), <-shaken); err != nil {
		t.Errorf("-race.seed=%d: handshake: %v", r.seed, err)
	}
	return befriend(r, peer, random)
}

// raceStranger is a friend whose handshake is among the calls that are raced.
func raceStranger(_ *testing.T, r *raceRound, conn net.Conn, client bool, config *tls.Config, random *rand.Rand) <-chan struct{} {
	return befriend(r, newRaceFriend(conn, client, config), random)
}

func newRaceFriend(conn net.Conn, client bool, config *tls.Config) *tlsstream.Conn {
	o := &tlsstream.Options{CloseTimeout: raceTimeouts, DrainTimeout: -1}
	if client {
		return o.Client(conn, config)
	}
	return o.Server(conn, config)
}

func befriend(r *raceRound, peer *tlsstream.Conn, random *rand.Rand) <-chan struct{} {
	done := make(chan struct{})
	words := random.IntN(3)
	silent := random.IntN(3) == 0 // takes close_notify for no reason to close
	go func() {
		defer close(done)
		for range words {
			if _, err := peer.Write(make([]byte, 1+random.IntN(1<<10))); err != nil {
				break
			}
		}
		_, err := io.Copy(io.Discard, peer)
		var alert *tlsstream.AlertError
		var handshake *tlsstream.HandshakeError
		switch {
		case errors.As(err, &handshake) && !handshake.Client && alertIn(err) == (alertSeen{tlsstream.AlertBadRecordMAC, false}):
			// The client's Abort came before the server's flight, which it
			// crossed: an alert in the clear, where the server expects none.
		case errors.As(err, &alert) && (!alert.Remote || alert.Alert != raceAlertSent):
			r.tally.fault(r.seed, "the peer: %v", err)
		case err != nil && alert == nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) && !isRaceReset(err):
			r.tally.fault(r.seed, "the peer: %v", err)
		}
		if !silent || err != nil {
			peer.Close()
			return
		}
		peer.NetConn().Read(make([]byte, 1)) // until the round closes it
		peer.Close()
	}()
	return done
}

// raceMute takes nothing and says nothing.
func raceMute(t *testing.T, r *raceRound, conn net.Conn, client bool, config *tls.Config, _ *rand.Rand) <-chan struct{} {
	scriptPeer(t, conn, client, config, r.conn.Handshake)
	done := make(chan struct{})
	close(done)
	return done
}

// raceRude sends records of all kinds, and goes at once, with or without a word.
func raceRude(t *testing.T, r *raceRound, conn net.Conn, client bool, config *tls.Config, random *rand.Rand) <-chan struct{} {
	peer := scriptPeer(t, conn, client, config, r.conn.Handshake)
	done := make(chan struct{})
	takes := random.IntN(2) == 0
	go func() {
		defer close(done)
		taken := make(chan struct{})
		go func() {
			if takes {
				io.Copy(io.Discard, conn)
			}
			close(taken)
		}()
		defer func() { <-taken }()
		defer conn.Close()
		for range random.IntN(6) {
			var record []byte
			switch random.IntN(3) {
			case 0:
				record = peer.out.Seal(nil, contentData, make([]byte, 1+random.IntN(1<<10)))
			case 1:
				record = peer.out.Seal(nil, contentHandshake, keyUpdate(1))
				if err := peer.out.Update(); err != nil {
					r.tally.fault(r.seed, "%v", err)
				}
			case 2:
				time.Sleep(time.Duration(random.IntN(int(time.Millisecond))))
			}
			if _, err := conn.Write(record); err != nil {
				return
			}
		}
		switch random.IntN(4) {
		case 0:
			conn.Write(peer.out.Seal(nil, contentAlert, []byte{levelFatal, byte(raceAlertSent)}))
		case 1:
			conn.Write(peer.out.Seal(nil, contentAlert, []byte{levelWarning, 0}))
		case 2:
			if tcp, ok := conn.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
		}
	}()
	return done
}
