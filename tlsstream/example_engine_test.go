package tlsstream_test

import (
	"fmt"
	"log"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// deliver carries what is due from one engine to the other. In an event loop
// this is a socket, and from and to are in different programs.
func deliver(from, to *tlsstream.Engine) {
	packet := make([]byte, 1400)
	for {
		n, _ := from.Take(packet)
		if n == 0 {
			return
		}
		if _, err := to.Feed(packet[:n]); err != nil {
			log.Fatal(err)
		}
	}
}

// Two engines that are joined by byte slices: no net.Conn, no goroutine.
func ExampleEngine() {
	ca := tlstest.NewCA()
	client := tlsstream.NewClientEngine(ca.ClientConfig())
	defer client.Close()
	server := tlsstream.NewServerEngine(ca.ServerConfig())
	defer server.Close()

	for !server.ConnectionState().HandshakeComplete {
		if err := client.Handshake(); err != nil && err != tlsstream.ErrWantRead {
			log.Fatal(err)
		}
		deliver(client, server)
		if err := server.Handshake(); err != nil && err != tlsstream.ErrWantRead {
			log.Fatal(err)
		}
		deliver(server, client)
	}

	p := make([]byte, 100)
	if _, err := server.Read(p); err == tlsstream.ErrWantRead {
		fmt.Println("server: nothing to read yet")
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	deliver(client, server)
	n, err := server.Read(p)
	fmt.Printf("server: read %q, %v\n", p[:n], err)

	if err := client.CloseWrite(); err != nil {
		log.Fatal(err)
	}
	deliver(client, server)
	_, err = server.Read(p)
	fmt.Println("server:", err)

	// Output:
	// server: nothing to read yet
	// server: read "hello", <nil>
	// server: EOF
}
