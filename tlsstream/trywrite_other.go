//go:build !unix

package tlsstream

import "net"

// A tryWriter does not exist here: see trywrite_unix.go.
type tryWriter struct{}

func newTryWriter(net.Conn) *tryWriter { return nil }

func (*tryWriter) Write([]byte) (int, error) { return 0, errWouldBlock }
