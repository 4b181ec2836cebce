package membio

import (
	"io"
	"net"
	"sync"
	"time"
)

// drainBytes bounds what Drain reads: a peer that is told to stop while it
// uploads has little more than two socket buffers in flight, and one that goes
// on past that does not listen.
const drainBytes = 16 << 20

var drainBuffers = sync.Pool{New: func() any { return new([4 << 10]byte) }}

// Drain reads conn and discards, until the peer's FIN, an error, or 16 MiB. The
// caller has sent its last byte, has shut down its sending side if it can, and
// has set a read deadline. A conn that is closed with unread input sends RST, and
// its peer may then never see what was sent to it last.
//
// It returns nil at the peer's FIN.
func Drain(conn net.Conn) error {
	buf := drainBuffers.Get().(*[4 << 10]byte)
	defer drainBuffers.Put(buf)
	for n := 0; n < drainBytes; {
		k, err := conn.Read(buf[:])
		n += k
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ErrFull
}

// maxDraining bounds the connections that CloseDrained keeps open at once. Each
// costs a goroutine and a file descriptor for the time of a drain, and a stranger
// can cause one by a bad handshake.
const maxDraining = 256

var draining = make(chan struct{}, maxDraining)

// CloseDrained shuts down conn's sending side and closes it after a Drain, in a
// goroutine of its own, within the given time. If 256 connections are being
// drained already, or conn cannot be shut down on one side, it closes at once.
func CloseDrained(conn net.Conn, within time.Duration) error {
	return CloseDrainedFunc(conn, within, func() {}, func(error) {})
}

// CloseDrainedFunc is CloseDrained for callers that watch: begun is called before it
// returns, unless it closes at once, and ended by that goroutine, with the result of
// Drain, after the close.
func CloseDrainedFunc(conn net.Conn, within time.Duration, begun func(), ended func(error)) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return conn.Close()
	}
	select {
	case draining <- struct{}{}:
	default:
		return conn.Close()
	}
	if err := half.CloseWrite(); err != nil || conn.SetReadDeadline(time.Now().Add(within)) != nil {
		<-draining
		return conn.Close()
	}
	begun()
	go func() {
		err := Drain(conn)
		_ = conn.Close() // its last word has been sent
		<-draining
		ended(err)
	}()
	return nil
}
