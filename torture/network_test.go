package torture

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

var errNoNetwork = errors.New("no network today")

func noDial(uint64) (net.Conn, net.Conn, error) { return nil, nil, errNoNetwork }

func TestNetworksConnect(t *testing.T) {
	for _, network := range Networks() {
		t.Run(network.Name, func(t *testing.T) {
			client, server := dialOrSkip(t, network)
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
		t.Run(network.Name, func(t *testing.T) {
			client, server := dialOrSkip(t, network)
			if _, ok := newMetered(client, 0).(halfCloser); !ok {
				t.Errorf("%T has no half-close", newMetered(client, 0))
			}
			client.Close()
			server.Close()
		})
	}
}

// dialOrSkip skips a test on a machine without the network.
func dialOrSkip(t *testing.T, network Network) (client, server net.Conn) {
	t.Helper()
	client, server, err := network.Dial(1)
	if reason, ok := errors.AsType[notHere](err); ok {
		t.Skip(reason)
	}
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// A round trip takes twice the delay: a byte cannot be back earlier.
func TestDelayedNetworkDelays(t *testing.T) {
	client, server := dialOrSkip(t, networksNamed(t, "delayed")[0])
	defer client.Close()
	defer server.Close()
	go io.Copy(server, server)
	start := time.Now()
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 2*delay {
		t.Errorf("to and fro in %v", took)
	}
}

// A network that a machine does not have is reported, with the reason, and is no failure.
func TestNetworkThatIsNotHereIsSkipped(t *testing.T) {
	network := networksNamed(t, "pipe-strict")[0]
	network.Dial = func(uint64) (net.Conn, net.Conn, error) { return nil, nil, notHere("no such thing") }
	report, err := Run(t.Context(), Plan{
		Stacks:    []Stack{Tlsstream()},
		Controls:  []Stack{Stdlib()},
		Scenarios: scenarioNamed(t, "upload"),
		Networks:  []Network{network},
		Runs:      2,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if row.Verdict != Skipped || row.Reason != "no such thing" || row.Blind {
			t.Errorf("%s: %v, %q, blind %v", row.Stack, row.Verdict, row.Reason, row.Blind)
		}
	}
	if report.Status != Clean {
		t.Errorf("status %v", report.Status)
	}
}
