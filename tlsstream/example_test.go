package tlsstream_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// A net/http server whose connections never write out of turn. HTTP/2 works,
// because Accept returns *tls.Conns.
func ExampleNewListener() {
	ca := tlstest.NewCA() // use your own certificate
	config := ca.ServerConfig()
	config.NextProtos = []string{"h2", "http/1.1"}

	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Fprintf(w, "received %d bytes over %s", n, r.Proto)
	})}
	go server.Serve(tlsstream.NewListener(inner, config))
	defer server.Close()

	clientConfig := ca.ClientConfig()
	transport := &http.Transport{TLSClientConfig: clientConfig, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	response, err := client.Post("https://"+inner.Addr().String(), "text/plain", bytes.NewReader(make([]byte, 1<<20)))
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	fmt.Println(string(text), err)

	// Output:
	// received 1048576 bytes over HTTP/2.0 <nil>
}

// An HTTP client whose connections never write out of turn.
func ExampleDialer_DialContext() {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello over %s", r.Proto)
	}))
	ca := tlstest.NewCA()
	server.TLS = ca.ServerConfig()
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()

	config := ca.ClientConfig()
	config.NextProtos = []string{"h2", "http/1.1"}
	dialer := &tlsstream.Dialer{Config: config}
	transport := &http.Transport{
		DialTLSContext:    dialer.DialContext,
		ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	response, err := client.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	fmt.Println(string(text), err)

	// Output:
	// hello over HTTP/2.0 <nil>
}
