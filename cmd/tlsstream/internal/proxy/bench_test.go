package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	torturebench "github.com/deferredtls/deferredtls/torture/bench"
)

// BenchmarkThroughput carries data from a TLS client to a plain backend, and back, in
// writes of 64 KiB.
func BenchmarkThroughput(b *testing.B) {
	for _, way := range []string{"inward", "outward"} {
		for _, stack := range []string{"stdlib", "tlsstream"} {
			b.Run("way="+way+"/stack="+stack, func(b *testing.B) {
				back, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				defer back.Close()
				front, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				defer front.Close()
				if stack == "stdlib" {
					go torturebench.StockProxy(front, testCA.ServerConfig(), back.Addr().String(), 0)
				} else {
					s := New(testConfig(back.Addr().String()))
					go s.Serve(front)
					defer (&running{Server: s}).drain(testTimeout)
					defer s.Stop()
				}
				client, err := tls.Dial("tcp", front.Addr().String(), testCA.ClientConfig())
				if err != nil {
					b.Fatal(err)
				}
				defer client.Close()
				backend, err := back.Accept()
				if err != nil {
					b.Fatal(err)
				}
				defer backend.Close()
				from, to := net.Conn(client), backend
				if way == "outward" {
					from, to = backend, client
				}
				data := pattern(64 << 10)
				b.SetBytes(int64(len(data)))
				received := make(chan struct{})
				go func() {
					defer close(received)
					io.Copy(io.Discard, to)
				}()
				for b.Loop() {
					if _, err := from.Write(data); err != nil {
						b.Fatal(err)
					}
				}
				from.Close()
				<-received
			})
		}
	}
}
