package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A log server that tells whether a sender's stream was whole, and a sender that never reads.
func Example_syslog() {
	ca := tlstest.NewCA() // use your own certificate
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", ca.ServerConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		sender, err := l.AcceptStream()
		if err != nil {
			log.Fatal(err)
		}
		defer sender.Close()
		lines := bufio.NewScanner(sender)
		for lines.Scan() {
			fmt.Println(lines.Text())
		}
		// A sender that was cut off ends with tlsstream.ErrTruncated.
		fmt.Println("the end:", lines.Err())
	}()

	sender, err := tlsstream.Dial("tcp", l.Addr().String(), resumable(ca))
	if err != nil {
		log.Fatal(err)
	}
	if err := sender.CloseRead(); err != nil { // from here on an error of the server's fails the next Write
		log.Fatal(err)
	}
	_, err = io.WriteString(sender, "<14>first\n<14>second\n")
	if err := errors.Join(err, sender.Close()); err != nil {
		log.Fatal(err)
	}
	<-done

	// Output:
	// <14>first
	// <14>second
	// the end: <nil>
}
