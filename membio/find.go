package membio

import "net"

// Find returns the first of c and the connections it runs over, as their NetConn
// methods tell, for which match is true; nil if there is none.
func Find(c net.Conn, match func(net.Conn) bool) net.Conn {
	for c != nil && !match(c) {
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = over.NetConn()
	}
	return c
}
