package ticketdefer_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// serveUploads stands for a server library that does TLS itself: it is given a
// plain listener and a TLS configuration.
func serveUploads(l net.Listener, config *tls.Config, received func(int64, error)) {
	secure := tls.NewListener(l, config)
	for {
		conn, err := secure.Accept()
		if err != nil {
			return
		}
		n, err := io.Copy(io.Discard, conn)
		conn.Close()
		received(n, err)
	}
}

// A library that calls tls.NewListener or tls.Server itself needs both: its
// listener wrapped, and its configuration.
func ExampleWrapListener() {
	ca := tlstest.NewCA() // use your own certificate
	config := ca.ServerConfig()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	go serveUploads(ticketdefer.WrapListener(l), ticketdefer.WrapConfig(config), func(n int64, err error) {
		fmt.Println("received", n, err)
		close(done)
	})

	// A client that asks for a ticket, only writes, and closes without having
	// read it. With crypto/tls alone the server would often see a reset in place
	// of the end.
	clientConfig := ca.ClientConfig()
	clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	client, err := tls.Dial("tcp", l.Addr().String(), clientConfig)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Write(make([]byte, 4<<20)); err != nil {
		log.Fatal(err)
	}
	client.Close()
	<-done
	l.Close()

	// Output:
	// received 4194304 <nil>
}
