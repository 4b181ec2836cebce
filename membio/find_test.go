package membio

import (
	"bytes"
	"net"
	"testing"
)

func TestFindReturnsTheFirstMatch(t *testing.T) {
	a, _ := Pipe(PipeOptions{})
	inner := NewConn(a)
	outer := NewConn(inner)
	isConn := func(c net.Conn) bool { _, ok := c.(*Conn); return ok }
	isPipe := func(c net.Conn) bool { _, ok := c.(*PipeConn); return ok }
	never := func(net.Conn) bool { return false }
	for _, tt := range []struct {
		name  string
		match func(net.Conn) bool
		want  net.Conn
	}{
		{"itself", isConn, outer},
		{"the transport of its transport", isPipe, a},
		{"nothing", never, nil},
	} {
		if got := Find(outer, tt.match); got != tt.want {
			t.Errorf("%s: got %T", tt.name, got)
		}
	}
	if got := Find(nil, isConn); got != nil {
		t.Errorf("in no connection at all: %T", got)
	}
}

func TestWriteBuffersLeavesItsArgumentsAlone(t *testing.T) {
	bufs := net.Buffers{[]byte("one "), nil, []byte("two")}
	var w countingWriter
	n, err := WriteBuffers(&w, bufs)
	if n != 7 || err != nil || len(w.writes) != 1 || string(w.writes[0]) != "one two" {
		t.Errorf("WriteBuffers = %d, %v, in %q", n, err, w.writes)
	}
	if !bytes.Equal(bytes.Join(bufs, nil), []byte("one two")) {
		t.Errorf("the list is %q afterwards", bufs)
	}
}
