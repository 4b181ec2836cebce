//go:build !linux

package torture

import "net"

func dialNamespaces() (client, server *net.TCPConn, hang func(), err error) {
	return nil, nil, nil, notHere("network namespaces need Linux")
}
