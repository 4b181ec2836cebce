package torture

import (
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

func TestComplaintSaysHowToPlayTheCaseAgain(t *testing.T) {
	report := runToy(t, flipBit)
	complaints := report.complaints()
	if len(complaints) != 1 || !strings.Contains(complaints[0], "2 of 2 runs failed; run 0: corrupted: ") ||
		!strings.Contains(complaints[0], "set TORTURE_REPLAY=upload:pipe-linux:toy:size=262144:seed=0:trial=0/2\n") {
		t.Errorf("got %q", complaints)
	}
	report.Rows[0].Role = Control
	if got := report.complaints(); got != nil {
		t.Errorf("a control is expected to fail, but: %q", got)
	}
	report.Rows[0].Blind = true
	if got := report.complaints(); len(got) != 1 || !strings.HasPrefix(got[0], "pipe-linux: blind: toy fails") {
		t.Errorf("got %q", got)
	}
}

func TestStackPlaysOneCaseIfTold(t *testing.T) {
	t.Setenv(replayVariable, "upload:pipe-linux:counted:size=1000:seed=1:trial=2/3")
	var made atomic.Int64
	TestStack(t, Stack{Name: "counted", Server: func(conn net.Conn, config *tls.Config) Conn {
		made.Add(1)
		return Tlsstream().Server(conn, config)
	}})
	if made.Load() != 1 {
		t.Errorf("%d servers for one case", made.Load())
	}
	t.Run("other", func(t *testing.T) {
		t.Cleanup(func() {
			if !t.Skipped() {
				t.Error("a case of another stack was not skipped")
			}
		})
		TestStack(t, Stack{Name: "other", Server: func(net.Conn, *tls.Config) Conn {
			t.Error("and was played")
			return nil
		}})
	})
}
