package torture

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProgramsAreReadAsWritten(t *testing.T) {
	g := generator{random: rand.New(rand.NewPCG(1, 0)), buffer: 1000}
	for range 1000 {
		p := g.program()
		got, err := parseProgram(p.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p.String(), got.String()); diff != "" {
			t.Fatal(diff)
		}
	}
	const text = "client=w100,r5,fin,end,wait,die;server="
	p, err := parseProgram(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, p.String()); diff != "" {
		t.Error(diff)
	}
}

func TestBadProgramsAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "client=w1", "server=;client=", "client=;server=;", "client=w;server=", "client=w-1;server=", "client=w1,;server=",
		"client=x;server=", "client=close,w1;server=", "client=w99999999;server=", "client=fin3;server=", "client= w1;server=",
	} {
		if p, err := parseProgram(text); err == nil {
			t.Errorf("%q is read as %v", text, p)
		}
	}
}

// size is what shrinking makes smaller.
func (p program) size() (size int) {
	for _, ops := range p {
		for _, o := range ops {
			size += 1 + o.n
		}
	}
	return size
}

func TestShrinkingFindsASmallestProgram(t *testing.T) {
	p, err := parseProgram("client=w4000,r5,fin,end,wait,die;server=r1,w2345,end,w7,close")
	if err != nil {
		t.Fatal(err)
	}
	fails := func(p program) bool { // if the server writes 100 bytes and the client ends
		bytes, _ := p.written(serverSide)
		n := len(p[clientSide])
		return bytes >= 100 && n > 0 && p[clientSide][n-1].kind == opDie
	}
	for smaller := true; smaller; {
		smaller = false
		for _, q := range p.shrink() {
			if q.size() >= p.size() {
				t.Fatalf("%v is not smaller than %v", q, p)
			}
			if fails(q) {
				p, smaller = q, true
				break
			}
		}
	}
	if got, want := p.String(), "client=die;server=w100"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEnumerationMissesNothing(t *testing.T) {
	e := newEnumeration(enumeratedWrite)
	seen := make(map[string]bool)
	for i := range e.len() {
		seen[e.program(i).String()] = true
	}
	if want := len(e.all) * len(e.all); len(seen) != want {
		t.Errorf("%d programs, want %d", len(seen), want)
	}
	if got := e.program(0).String(); got != "client=close;server=close" {
		t.Errorf("begins with %s", got)
	}
	t.Logf("%d programs, of which both sides close in %d", len(seen), len(e.closing)*len(e.closing))
}
