package tlsstream_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// own runs the whole suite with Options.OwnRecords set everywhere:
//
//	go test ./tlsstream -own
var own = flag.Bool("own", false, "set Options.OwnRecords in every test")

func TestMain(m *testing.M) {
	flag.Parse()
	tlsstream.SetOwnByDefault(*own)
	goleak.VerifyTestMain(m)
}

// answersHeld is how many of n answers to KeyUpdate go out when all of n were held:
// up to four one by one, but with Options.OwnRecords one stands for all.
func answersHeld(s string, n int) int {
	if *own && s == streamStack.name {
		return min(n, 1)
	}
	return n
}
