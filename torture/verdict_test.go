package torture

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestJudge(t *testing.T) {
	reset := errors.New("reset")
	for _, test := range []struct {
		name           string
		client, server told
		end            ending
		want           Verdict
	}{
		{name: "all arrived", client: told{sent: 9}, server: told{received: 9}, want: Verdict{}},
		{
			name:   "both directions",
			client: told{sent: 9, received: 5}, server: told{sent: 5, received: 9},
			want: Verdict{},
		},
		{
			name:   "the sender knows",
			client: told{sent: 9, err: reset}, server: told{received: 4, err: reset},
			want: Verdict{Class: Lost, LostBytes: 5, Detail: `the server read 4 of 9 bytes, then "reset"; the client was told "reset"`},
		},
		{
			name:   "the sender does not know",
			client: told{sent: 9}, server: told{received: 4, err: reset},
			want: Verdict{Class: SilentLoss, LostBytes: 5, Detail: `the server read 4 of 9 bytes, then "reset"; the client was told success`},
		},
		{
			name:   "nobody knows",
			client: told{sent: 9}, server: told{received: 4},
			want: Verdict{Class: SilentLoss, LostBytes: 5, Detail: `the server read 4 of 9 bytes, then success; the client was told success`},
		},
		{
			name:   "the reply is lost",
			client: told{sent: 9, received: 1, err: reset}, server: told{sent: 5, received: 9},
			want: Verdict{Class: SilentLoss, LostBytes: 4, Detail: `the client read 1 of 5 bytes, then "reset"; the server was told success`},
		},
		{
			name:   "a failure that was none",
			client: told{sent: 9}, server: told{received: 9, err: reset},
			want: Verdict{Class: WrongError, LostBytes: 0, Detail: `every byte arrived; the client was told success; the server was told "reset"`},
		},
		{
			name:   "no handshake",
			client: told{err: reset}, server: told{err: reset},
			want: Verdict{Class: WrongError, LostBytes: 0, Detail: `every byte arrived; the client was told "reset"; the server was told "reset"`},
		},
		{
			name:   "corruption outweighs what follows from it",
			client: told{sent: 9, err: reset}, server: told{received: 4, corrupted: true, wrongFrom: -1, err: reset},
			want: Verdict{Class: Corrupted, LostBytes: 0, Detail: `the server read a wrong byte at offset 4`},
		},
		{
			name:   "what belongs elsewhere is not corrupted",
			client: told{sent: 9, err: reset}, server: told{received: 4, corrupted: true, wrongFrom: 7, err: reset},
			want: Verdict{Class: Reordered, Detail: `the server read at offset 4 what belongs at offset 7`},
		},
		{
			name:   "one wrong byte outweighs another that is out of order",
			client: told{sent: 9, received: 1, corrupted: true, wrongFrom: -1}, server: told{sent: 9, received: 4, corrupted: true, wrongFrom: 7},
			want: Verdict{Class: Corrupted, Detail: `the server read at offset 4 what belongs at offset 7; the client read a wrong byte at offset 1`},
		},
		{
			name:   "slow",
			client: told{sent: 9}, server: told{received: 9}, end: ending{class: Slow, detail: "crawled"},
			want: Verdict{Class: Slow, Detail: "crawled"},
		},
		{
			name:   "a loss outweighs slowness",
			client: told{sent: 9}, server: told{received: 8, err: reset}, end: ending{class: Slow, detail: "crawled"},
			want: Verdict{Class: SilentLoss, LostBytes: 1, Detail: `the server read 8 of 9 bytes, then "reset"; the client was told success`},
		},
		{
			name:   "what a stopped run lost is not counted",
			client: told{sent: 9, err: reset}, server: told{received: 4, err: reset}, end: ending{class: Deadlock, stopped: true, detail: "both wait"},
			want: Verdict{Class: Deadlock, LostBytes: 0, Detail: `both wait`},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := judge(test.client, test.server, test.end, allArrives); got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// Reports of the same run must not differ by port numbers.
func TestStepErrorNamesTheCauseAlone(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 12345}
	err := stepError("read", &net.OpError{Op: "read", Net: "tcp", Source: addr, Addr: addr, Err: os.NewSyscallError("read", syscall.ECONNRESET)})
	if got, want := err.Error(), "read: connection reset by peer"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Error("the cause is not wrapped")
	}
}
