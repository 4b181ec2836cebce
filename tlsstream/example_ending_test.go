package tlsstream_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A download that the server gives up half-way. The response has no length, so by net/http alone the client would take
// its half for the whole.
func ExampleAbortHandler() {
	ca := tlstest.NewCA() // use your own certificate
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", ca.ServerConfig())
	if err != nil {
		log.Fatal(err)
	}
	download := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Transfer-Encoding", "identity")
		io.WriteString(w, strings.Repeat("x", 10_000))
		panic(http.ErrAbortHandler) // the disk has failed
	})
	server := &http.Server{Handler: tlsstream.AbortHandler(download), ConnContext: tlsstream.ConnContext}
	go server.Serve(l)
	defer server.Close()

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: ca.ClientConfig()}}
	response, err := client.Get("https://" + l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	fmt.Println(err)

	// Output:
	// remote error: tls: internal error
}

// A server that knows its clients by their keys, and a client that it does not know.
func ExamplePinPeers() {
	newIdentity := func() (tls.Certificate, tlsstream.Pin) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			log.Fatal(err)
		}
		identity, err := tlsstream.PinnedIdentity(private)
		if err != nil {
			log.Fatal(err)
		}
		pin, err := tlsstream.PinOf(public)
		if err != nil {
			log.Fatal(err)
		}
		return identity, pin
	}
	server, serverPin := newIdentity()
	_, friendPin := newIdentity()
	stranger, _ := newIdentity()

	serverConfig := tlsstream.PinPeers(friendPin)
	serverConfig.Certificates = []tls.Certificate{server}
	l, err := tlsstream.Listen("tcp", "127.0.0.1:0", serverConfig)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.AcceptStream()
		if err != nil {
			return
		}
		defer c.Close()
		c.Handshake()
	}()

	config := tlsstream.PinPeers(serverPin)
	config.Certificates = []tls.Certificate{stranger}
	c, err := tlsstream.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1)) // in TLS 1.3 the server looks at the client last
	if alert := (*tlsstream.AlertError)(nil); errors.As(err, &alert) {
		fmt.Println(alert)
	}

	// Output:
	// tlsstream: the peer ended the connection with alert bad_certificate (42): this side's certificate was not accepted; where keys are pinned, your key is not on the server's list
}
