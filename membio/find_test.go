package membio

import (
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
