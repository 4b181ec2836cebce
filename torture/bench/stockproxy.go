package bench

import (
	"crypto/tls"
	"io"
	"net"
)

// StockProxy carries the connections of l to a plain backend as a careful program on crypto/tls does, until l is closed.
// If sendBuffer is not zero, it is the size in bytes of the kernel's buffer towards the backend.
func StockProxy(l net.Listener, config *tls.Config, to string, sendBuffer int) {
	tl := tls.NewListener(l, config)
	for {
		front, err := tl.Accept()
		if err != nil {
			return
		}
		go func() {
			defer front.Close()
			conn, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer conn.Close()
			back := conn.(*net.TCPConn)
			if sendBuffer > 0 {
				back.SetWriteBuffer(sendBuffer)
			}
			go func() {
				io.Copy(front, back)
				front.(*tls.Conn).CloseWrite()
			}()
			io.Copy(back, front)
			back.CloseWrite()
			io.Copy(io.Discard, back)
		}()
	}
}
