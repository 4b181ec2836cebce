package membio

import (
	"fmt"
	"io"
	"net"
	"testing"
)

func BenchmarkBuffer(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("WriteRead/size=%d", size), func(b *testing.B) {
			p := make([]byte, size)
			var buf Buffer
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				buf.Write(p)
				buf.Read(p)
			}
		})
		b.Run(fmt.Sprintf("WriteTo/size=%d", size), func(b *testing.B) {
			p := make([]byte, size)
			var buf Buffer
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				buf.Write(p)
				buf.WriteTo(io.Discard)
			}
		})
	}
}

// BenchmarkConnWrite shows what the layer costs where it has nothing to do,
// and what joining costs.
func BenchmarkConnWrite(b *testing.B) {
	record := make([]byte, 16<<10)
	ticket := make([]byte, 250)
	for _, pending := range []bool{false, true} {
		b.Run(fmt.Sprintf("pending=%v", pending), func(b *testing.B) {
			c := NewConn(nullConn{})
			b.SetBytes(int64(len(record)))
			b.ReportAllocs()
			for b.Loop() {
				if pending {
					c.Queue(ticket)
				}
				c.Write(record)
			}
		})
	}
}

// BenchmarkThroughput sends 16 KiB at a time from one goroutine to another.
func BenchmarkThroughput(b *testing.B) {
	pipe := func(o PipeOptions) func(*testing.B) (net.Conn, net.Conn) {
		return func(*testing.B) (net.Conn, net.Conn) { return Pipe(o) }
	}
	side := func(buffer, segment int) PipeOptions {
		s := PipeSide{buffer, buffer, segment}
		return PipeOptions{A: s, B: s}
	}
	for _, bm := range []struct {
		name string
		pair func(*testing.B) (net.Conn, net.Conn)
	}{
		{"stack=stdlib/lockstep", func(*testing.B) (net.Conn, net.Conn) { return net.Pipe() }},
		{"stack=stdlib/TCP", func(b *testing.B) (net.Conn, net.Conn) { return tcpPair(b) }},
		{"stack=membio/lockstep", pipe(PipeOptions{})},
		{"stack=membio/64KiB", pipe(side(64<<10, 0))},
		{"stack=membio/64KiB,segments", pipe(side(64<<10, 1460))},
	} {
		b.Run(bm.name, func(b *testing.B) {
			w, r := bm.pair(b)
			p := make([]byte, 16<<10)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			done := make(chan struct{})
			go func() {
				defer close(done)
				io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 32<<10))
			}()
			for b.Loop() {
				if _, err := w.Write(p); err != nil {
					b.Fatal(err)
				}
			}
			w.Close()
			<-done
			r.Close()
		})
	}
}

// BenchmarkPingPong is one byte there and one back.
func BenchmarkPingPong(b *testing.B) {
	for _, bm := range []struct {
		name string
		pair func() (net.Conn, net.Conn)
	}{
		{"stack=stdlib/lockstep", net.Pipe},
		{"stack=membio/lockstep", func() (net.Conn, net.Conn) { return Pipe(PipeOptions{}) }},
		{"stack=membio/1KiB", func() (net.Conn, net.Conn) {
			s := PipeSide{SendBuffer: 1 << 10, ReceiveBuffer: 1 << 10}
			return Pipe(PipeOptions{A: s, B: s})
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			w, r := bm.pair()
			done := make(chan struct{})
			go func() {
				defer close(done)
				p := make([]byte, 1)
				for {
					if _, err := r.Read(p); err != nil {
						return
					}
					r.Write(p)
				}
			}()
			p := make([]byte, 1)
			b.ReportAllocs()
			for b.Loop() {
				w.Write(p)
				w.Read(p)
			}
			w.Close()
			<-done
			r.Close()
		})
	}
}
