package torture

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCaseIDIsReadable(t *testing.T) {
	c := Case{Scenario: "random-ops", Network: "pipe-strict", Stack: "my tls", Size: 4096, Seed: 7, Trial: 3, Of: 30,
		SendBuffer: 16, ReceiveBuffer: 8, Program: "client: write 5\nserver: read all"}
	const want = "random-ops:pipe-strict:my%20tls:size=4096:seed=7:trial=3/30:buffers=16/8:program=client%3A%20write%205%0Aserver%3A%20read%20all"
	if got := c.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzParseCase(f *testing.F) {
	f.Add("upload:tcp:stdlib:size=1:seed=0:trial=0/1")
	f.Add("a:b:c:trial=1/2:seed=18446744073709551615:size=9223372036854775807:buffers=1/2:program=%00%7e")
	f.Add("%2f:%3A:+:size=1:seed=0:trial=0/1:program=")
	oneWord := regexp.MustCompile(`^[a-zA-Z0-9._,/+@%:=-]+$`)
	f.Fuzz(func(t *testing.T, id string) {
		c, err := ParseCase(id)
		if err != nil {
			return
		}
		if !oneWord.MatchString(c.String()) {
			t.Errorf("%q is not one word of a shell", c)
		}
		again, err := ParseCase(c.String())
		if err != nil && len(c.String()) <= maxCaseID {
			t.Fatalf("%q: %v", c, err)
		}
		if diff := cmp.Diff(c, again); diff != "" && err == nil {
			t.Errorf("written and read again:\n%s", diff)
		}
	})
}

func TestBadCasesAreRefused(t *testing.T) {
	const names = "upload:tcp:stdlib:"
	for id, want := range map[string]string{
		"":                                "no scenario, network and stack",
		"upload:tcp":                      "no scenario, network and stack",
		"upload::stdlib":                  "no name",
		"up%zzload:tcp:x":                 "no name",
		names + "size=0":                  "a size is at least 1",
		names + "size=1:trial=0/1":        "no seed",
		names + "size=1:seed=-1":          `"seed=-1"`,
		names + "size=1:seed=1":           "no such trial",
		names + "size=1:size=2":           "size twice",
		names + "speed=1":                 `"speed=1"`,
		names + "trial=1":                 `"trial=1"`,
		names + "program=%":               `"program=%"`,
		strings.Repeat("a", 1<<17):        "longer than",
		names + "size=1:seed=1:trial=1/1": "no such trial",
		names + "size=1:seed=1:trial=0/1:buffers=0/1": "a buffer has at least one byte",

		// What would overflow, and be told as a fault of the stack.
		names + "size=9223372036854775807:seed=1:trial=0/1":                   "a size is at most",
		names + "size=1:seed=1:trial=4611686018427387903/9223372036854775807": "too many trials",
		names + "size=1:seed=1:trial=0/1:buffers=9223372036854775807/1":       "a buffer has at most",
	} {
		if c, err := ParseCase(id); err == nil || !strings.HasPrefix(err.Error(), "torture: bad case: "+want) {
			t.Errorf("%.80q gives %+v, %v, want %q", id, c, err, want)
		}
	}
}
