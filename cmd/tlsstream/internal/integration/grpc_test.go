package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/deferredtls/deferredtls/ticketdefer"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// gRPC makes its TLS itself, on both sides: it gets wrapped connections and a wrapped configuration.
func Example_grpc() {
	ca := tlstest.NewCA() // use your own certificate
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(ticketdefer.WrapConfig(ca.ServerConfig()))))
	healthpb.RegisterHealthServer(server, health.NewServer())
	go server.Serve(ticketdefer.WrapListener(l))
	defer server.Stop()

	client, err := grpc.NewClient(l.Addr().String(),
		grpc.WithTransportCredentials(credentials.NewTLS(ticketdefer.WrapConfig(ca.ClientConfig()))),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			return ticketdefer.WrapConn(c), nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	answer, err := healthpb.NewHealthClient(client).Check(context.Background(), &healthpb.HealthCheckRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Status)

	// Output:
	// SERVING
}

// uploads is a service with one method, a stream of bytes one way, whose answer is how many came.
var uploads = grpc.ServiceDesc{
	ServiceName: "integration.Uploads",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{StreamName: "Upload", ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
		var n int64
		for {
			var part wrapperspb.BytesValue
			switch err := stream.RecvMsg(&part); {
			case errors.Is(err, io.EOF):
				return stream.SendMsg(wrapperspb.Int64(n))
			case err != nil:
				return err
			}
			n += int64(len(part.Value))
		}
	}}},
}

// Streams of gRPC over our layer on both sides: whole, with tickets deferred and resumed.
func TestGRPCUploads(t *testing.T) {
	seen := &noting{Listener: ticketdefer.WrapListener(listen(t))}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(ours.config(testCA.ServerConfig()))))
	server.RegisterService(&uploads, nil)
	go server.Serve(seen)
	defer server.Stop()

	var resumed []bool
	config := resumable(testCA)
	config.VerifyConnection = func(state tls.ConnectionState) error {
		resumed = append(resumed, state.DidResume)
		return nil
	}
	config = ours.config(config)
	part := wrapperspb.Bytes(bytes.Repeat([]byte("part"), 16<<10))
	const parts = 128 // 8 MiB
	for range 2 {
		var dialed *ticketdefer.Conn
		client, err := grpc.NewClient(seen.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(config)),
			grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
				if err != nil {
					return nil, err
				}
				dialed = ticketdefer.WrapConn(c)
				return dialed, nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		defer cancel()
		stream, err := client.NewStream(ctx, &uploads.Streams[0], "/integration.Uploads/Upload")
		if err != nil {
			t.Fatal(err)
		}
		for range parts {
			if err := stream.SendMsg(part); err != nil {
				t.Fatal(err)
			}
		}
		var got wrapperspb.Int64Value
		if err := errors.Join(stream.CloseSend(), stream.RecvMsg(&got)); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "bytes", int64(parts*len(part.Value)), got.Value)
		mustEqual(t, "deferral at the client", ticketdefer.DeferralOn.String(), dialed.Stats().Deferral.String())
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	mustEqual(t, "resumed", []bool{false, true}, resumed)
	for _, c := range seen.all() {
		stats := c.Stats()
		mustEqual(t, "deferral at the server", ticketdefer.DeferralOn.String(), stats.Deferral.String())
		mustEqual(t, "tickets that waited", int64(1), stats.ReleasedRecords)
	}
}

// A noting listener keeps the connections that it has accepted.
type noting struct {
	net.Listener
	mu    sync.Mutex
	conns []*ticketdefer.Conn
}

func (n *noting) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.conns = append(n.conns, c.(*ticketdefer.Conn))
	}
	return c, err
}

func (n *noting) all() []*ticketdefer.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns
}
