package torture

import (
	"errors"
	"io"
	"net"
	"testing"
)

var errNoNetwork = errors.New("no network today")

func noDial(uint64) (net.Conn, net.Conn, error) { return nil, nil, errNoNetwork }

func TestNetworksConnect(t *testing.T) {
	for _, network := range Networks() {
		t.Run(network.Name, func(t *testing.T) {
			client, server, err := network.Dial(1)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			defer server.Close()
			failed := make(chan error, 1)
			go func() {
				_, err := client.Write([]byte("hello"))
				failed <- errors.Join(err, client.Close())
			}()
			got, err := io.ReadAll(server)
			if string(got) != "hello" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			if err := <-failed; err != nil {
				t.Error(err)
			}
		})
	}
}

// A stack may look for more than net.Conn in its transport.
func TestMeterKeepsTheTransportsMethods(t *testing.T) {
	type halfCloser interface {
		CloseWrite() error
		CloseRead() error
		SetLinger(int) error
	}
	for _, network := range Networks() {
		client, server, err := network.Dial(1)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := newMetered(client, 0).(halfCloser); !ok {
			t.Errorf("%s: %T has no half-close", network.Name, newMetered(client, 0))
		}
		client.Close()
		server.Close()
	}
}
