package bench

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Endpoint(slowToy(), brokenToy(), refusingToy(), panickingToy())
	goleak.VerifyTestMain(m)
}

// slowToy is stock crypto/tls whose client takes a quarter longer for everything: its rate is 0.8.
func slowToy() Stack {
	s := Stdlib()
	s.Name = "slow-toy"
	s.Client = func(conn net.Conn, config *tls.Config) Conn { return slowConn{tls.Client(conn, config)} }
	return s
}

type slowConn struct{ *tls.Conn }

func (c slowConn) Read(p []byte) (int, error) {
	defer linger(time.Now())
	return c.Conn.Read(p)
}

func (c slowConn) Write(p []byte) (int, error) {
	defer linger(time.Now())
	return c.Conn.Write(p)
}

// linger computes, as work does, for a quarter of the time since began.
func linger(began time.Time) {
	now := time.Now()
	for end := now.Add(now.Sub(began) / 4); time.Now().Before(end); {
	}
}

// brokenToy fails after some writes.
func brokenToy() Stack {
	s := Stdlib()
	s.Name = "broken-toy"
	s.Client = func(conn net.Conn, config *tls.Config) Conn {
		return &brokenConn{Conn: tls.Client(conn, config), left: 20}
	}
	return s
}

type brokenConn struct {
	*tls.Conn
	left int
}

func (c *brokenConn) Write(p []byte) (int, error) {
	if c.left--; c.left < 0 {
		return 0, errors.New("toy: broken")
	}
	return c.Conn.Write(p)
}

// refusingToy fails its handshakes.
func refusingToy() Stack {
	s := Stdlib()
	s.Name = "refusing-toy"
	s.Client = func(conn net.Conn, config *tls.Config) Conn { return refusingConn{tls.Client(conn, config)} }
	return s
}

type refusingConn struct{ *tls.Conn }

func (refusingConn) Handshake() error { return errors.New("toy: refused") }

// panickingToy takes its process with it.
func panickingToy() Stack {
	s := Stdlib()
	s.Name = "panicking-toy"
	s.Client = func(conn net.Conn, config *tls.Config) Conn { return panickingConn{tls.Client(conn, config)} }
	return s
}

type panickingConn struct{ *tls.Conn }

func (panickingConn) Write([]byte) (int, error) { panic("toy: panic") }
