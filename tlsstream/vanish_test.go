package tlsstream_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deferredtls/deferredtls/membio"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A vanisher is a transport whose user vanishes when it has sent some bytes: with
// FIN, or with RST.
type vanisher struct {
	net.Conn
	reset bool

	mu   sync.Mutex
	left int  // guarded by mu
	gone bool // guarded by mu
}

var errVanished = errors.New("vanished")

func (v *vanisher) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone {
		return 0, errVanished
	}
	if len(p) < v.left {
		v.left -= len(p)
		return v.Conn.Write(p)
	}
	n, _ := v.Conn.Write(p[:v.left])
	v.vanish()
	return n, errVanished
}

func (v *vanisher) isGone() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.gone
}

// vanish ends the connection. The caller holds v.mu, or is alone.
func (v *vanisher) vanish() {
	v.gone = true
	half := v.Conn.(interface {
		CloseWrite() error
		SetLinger(int) error
	})
	if v.reset {
		half.SetLinger(0)
		v.Conn.Close()
		return
	}
	// FIN alone: a Close with unread input would be a RST.
	half.CloseWrite()
}

// vanishRun shakes hands with a peer that vanishes after the given bytes. It
// reports false if the peer never sent as many.
func vanishRun(t *testing.T, a, b net.Conn, clientVictim, reset bool, after int, clientConfig, serverConfig *tls.Config) (gone bool) {
	t.Helper()
	peerEnd := &vanisher{Conn: b, reset: reset, left: after}
	var victim *tlsstream.Conn
	var peer *tls.Conn
	if clientVictim {
		victim, peer = (&tlsstream.Options{DrainTimeout: -1}).Client(a, clientConfig), tls.Server(peerEnd, serverConfig)
	} else {
		victim, peer = tlsstream.Server(a, serverConfig), tls.Client(peerEnd, clientConfig)
	}
	if after == 0 {
		peerEnd.vanish()
	}
	victim.SetDeadline(time.Now().Add(30 * time.Second))
	peerDone := make(chan struct{})
	go func() {
		defer close(peerDone)
		peer.Handshake()
	}()
	err := victim.Handshake()
	what := fmt.Sprintf("clientVictim=%t reset=%t after=%d", clientVictim, reset, after)
	if err != nil {
		checkVanished(t, what, err, clientVictim, reset, after)
	} else if peerEnd.isGone() {
		// It vanished with its last byte.
		_, err := victim.Read([]byte{0})
		if !errors.Is(err, tlsstream.ErrTruncated) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: Read after the handshake: %v", what, err)
		}
	}
	victim.Close()
	b.Close()
	<-peerDone
	return peerEnd.isGone()
}

// checkVanished checks that a handshake's error says what happened and on which side.
func checkVanished(t *testing.T, what string, err error, client, reset bool, after int) {
	t.Helper()
	var failed *tlsstream.HandshakeError
	if !errors.As(err, &failed) || failed.Client != client || failed.Hint == "" || failed.Remote == nil || failed.Timeout() {
		t.Errorf("%s: %#v", what, err)
		return
	}
	isEnd := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	isReset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if reset && !isReset || !reset && !isEnd {
		t.Errorf("%s: %v", what, err)
	}
	if failed.Received > int64(after) || !reset && failed.Received != int64(after) {
		t.Errorf("%s: %d bytes received", what, failed.Received)
	}
}

// A peer may vanish at every byte of the handshake, in either role, with FIN or
// with RST: an error that says so, at once, and nothing is left behind.
func TestPeerVanishesAtEveryByte(t *testing.T) {
	t.Parallel()
	step := 1
	if underRace {
		step = 7
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, clientVictim := range []bool{true, false} {
			for _, reset := range []bool{true, false} {
				name := fmt.Sprintf("%s/clientVictim=%t/reset=%t", tls.VersionName(version), clientVictim, reset)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
					cheap(clientConfig, serverConfig)
					mutual(clientConfig, serverConfig)
					serverConfig.MaxVersion = version
					runs := 0
					for after, gone := 0, true; gone; after += step {
						synctest.Test(t, func(t *testing.T) {
							a, b := membio.Pipe(wide(1 << 20))
							mustTake(t, fmt.Sprintf("after=%d", after), 0, func() {
								gone = vanishRun(t, a, b, clientVictim, reset, after, clientConfig, serverConfig)
							})
						})
						runs++
					}
					if runs < 500/step {
						t.Errorf("only %d runs", runs)
					}
				})
			}
		}
	}
}

// The same with the kernel's errors, at some of the bytes.
func TestPeerVanishesOverTCP(t *testing.T) {
	t.Parallel()
	for _, clientVictim := range []bool{true, false} {
		for _, reset := range []bool{true, false} {
			t.Run(fmt.Sprintf("clientVictim=%t/reset=%t", clientVictim, reset), func(t *testing.T) {
				t.Parallel()
				clientConfig, serverConfig := testCA.ClientConfig(), testCA.ServerConfig()
				mutual(clientConfig, serverConfig)
				for after, gone := 0, true; gone; after += 97 {
					a, b := tlstest.TCPPair(t)
					gone = vanishRun(t, a, b, clientVictim, reset, after, clientConfig, serverConfig)
				}
			})
		}
	}
}
