package membio

import (
	"bytes"
	"net"
	"path/filepath"
	"testing"
)

// packetPair returns a connection on which each write system call is a
// packet, so that the reader can count them.
func packetPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	addr := &net.UnixAddr{Net: "unixpacket", Name: filepath.Join(t.TempDir(), "s")}
	l, err := net.ListenUnix(addr.Net, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.DialUnix(addr.Net, nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	b, err = l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return a, b
}

func TestSocketsGetOneSystemCall(t *testing.T) {
	want := pattern(2*chunkBytes + 500)
	for _, tt := range []struct {
		name  string
		write func(a net.Conn)
	}{
		{"Buffer", func(a net.Conn) {
			b := Buffer{Limit: -1}
			b.Write(want)
			b.WriteTo(a)
		}},
		{"Conn", func(a net.Conn) {
			c := NewConn(a)
			c.Queue(want[:chunkBytes+7])
			c.Write(want[chunkBytes+7:])
		}},
	} {
		a, b := packetPair(t)
		tt.write(a)
		got := make([]byte, 2*len(want))
		n, err := b.Read(got)
		if !bytes.Equal(got[:n], want) || err != nil {
			t.Errorf("%s: the first system call wrote %d bytes of %d, %v", tt.name, n, len(want), err)
		}
	}
}
