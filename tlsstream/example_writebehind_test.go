package tlsstream_test

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A log sender: many short writes, and nothing to read. Lines fill whole records while
// the network is busy, and leave at once while it is not.
func ExampleOptions_writeBehind() {
	ca := tlstest.NewCA() // use your own certificate
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", ca.ServerConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	lines := make(chan int)
	go func() {
		c, err := l.AcceptStream()
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		n := 0
		for s := bufio.NewScanner(c); s.Scan(); {
			n++
		}
		lines <- n
	}()

	transport, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	o := &tlsstream.Options{WriteBehind: 256 << 10}
	c := o.Client(transport, ca.ClientConfig())
	if err := c.CloseRead(); err != nil { // so that a Write tells when the server has gone
		log.Fatal(err)
	}
	for i := range 10_000 {
		if _, err := fmt.Fprintf(c, "line %d\n", i); err != nil {
			log.Fatal(err)
		}
	}
	c.SetWriteDeadline(time.Now().Add(time.Minute))
	if err := c.Flush(); err != nil { // nil from Write said that the lines were in memory
		log.Fatal(err)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-lines, "lines")
	// Output: 10000 lines
}
