package torture

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// randomTrial is a trial of random-ops outside of a plan.
func randomTrial(t testing.TB, stack *Stack, id *identity, index int) *trial {
	t.Helper()
	scenario, network := randomOps(), grantedNetwork()
	c := Case{Scenario: scenario.Name, Network: network.Name, Stack: stack.Name, Size: 1, Seed: 1, Trial: index, Of: index + 1}
	trial, err := c.trial(&scenario, &network, stack, id)
	if err != nil {
		t.Fatal(err)
	}
	return trial
}

func testIdentity(t testing.TB) *identity {
	t.Helper()
	id, err := newIdentity(1)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func playRandom(t testing.TB, stack *Stack, id *identity, index int) Verdict {
	t.Helper()
	out, err := randomTrial(t, stack, id, index).run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out.verdict
}

// programsTried is how many programs the stacks under test play here. A soak plays a hundred times as many.
const programsTried = 2000

func TestEveryProgramEndsAsOverTCP(t *testing.T) {
	id := testIdentity(t)
	for _, stack := range []Stack{Tlsstream(), TlsstreamListener(), TlsstreamEngine()} {
		t.Run(stack.Name, func(t *testing.T) {
			t.Parallel()
			undetermined := 0
			for i := range programsTried {
				switch v := playRandom(t, &stack, id, i); {
				case v.Class.failed():
					t.Errorf("program %d: %v", i, v)
				case v.Class == Undetermined:
					undetermined++
				}
			}
			if undetermined > programsTried/5 {
				t.Errorf("%d of %d programs were not judged", undetermined, programsTried)
			}
		})
	}
}

// The control must fail, and not by one program only.
func TestManyProgramsTellStockFromTCP(t *testing.T) {
	id, stack := testIdentity(t), Stdlib()
	failed := make(map[Class]int)
	const tried = 400
	for i := range tried {
		if v := playRandom(t, &stack, id, i); v.Class.failed() {
			failed[v.Class]++
		}
	}
	t.Logf("of %d programs: %v", tried, failed)
	if failed[SilentLoss] == 0 || failed[WrongError] == 0 {
		t.Error("crypto/tls lost nothing, or reported nothing wrong")
	}
}

// The same seed gives the same verdict and the same records in the same order, however the machine schedules.
func TestSameSeedSameTranscript(t *testing.T) {
	const repeats, programs = 100, 4
	id := testIdentity(t)
	for _, stack := range []Stack{Tlsstream(), TlsstreamListener(), TlsstreamEngine(), Stdlib()} {
		t.Run(stack.Name, func(t *testing.T) {
			t.Parallel()
			for i := range programs {
				index := 2000 + 2*i + 1 // random ones
				play := func() (Verdict, Transcript) {
					trial := randomTrial(t, &stack, id, index)
					out, err := trial.run(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return out.verdict, trial.transcript()
				}
				verdict, transcript := play()
				if len(transcript) < 10 {
					t.Fatalf("program %d: only %v", index, transcript)
				}
				for range repeats - 1 {
					againVerdict, again := play()
					if diff := cmp.Diff(verdict, againVerdict) + transcript.Diff(again); diff != "" {
						t.Fatalf("program %d: %s", index, diff)
					}
				}
			}
		})
	}
}

// modelled plays a program on TLS streams that are made like this, and judges it.
func modelled(t *testing.T, stack Stack, text string, buffer int, seed uint64) Verdict {
	t.Helper()
	p, err := parseProgram(text)
	if err != nil {
		t.Fatal(err)
	}
	trial := randomTrial(t, &stack, testIdentity(t), 0)
	trial.seed = 0 // both ends are of the stack
	trial.serverConfig, trial.clientConfig = trial.identity.configs()
	return trial.playGranted(granted{program: p, wire: wireOptions{sendBuffer: buffer, receiveBuffer: buffer}, seed: seed})
}

func TestRuleKnowsItsExceptions(t *testing.T) {
	for _, test := range []struct {
		name, program string
		buffer        int
		want          Verdict
	}{
		{"ends well", "client=w5000,close;server=end,close", 2048, Verdict{}},
		{"both are blocked over TCP, too", "client=w9999,end;server=w9999,end", 2048, Verdict{}},
		{"whether both are blocked depends on the buffers", "client=w4096,end,close;server=w4096,end,close", 2048,
			Verdict{Class: Undetermined, Detail: severalFates}},
		{"who is first decides", "client=w1,w1,w1,r1,close;server=close", 2048, Verdict{Class: Undetermined, Detail: severalFates}},
		{"close_notify to a server that writes and never reads", "client=w1,fin,wait,end,close;server=r1,wait,w3600,close", 2048,
			Verdict{Class: Undetermined, Detail: limitedFate}},
		{"the server is reset while the client has part of a record", "client=r100,close;server=w5000,rst", 50_000, Verdict{}},
	} {
		for _, stack := range []Stack{Tlsstream(), TlsstreamEngine()} {
			met := false // whether a schedule led to a limit
			for seed := range uint64(20) {
				v := modelled(t, stack, test.program, test.buffer, seed)
				met = met || v == test.want
				if v != test.want && (v != Verdict{} || test.want.Detail != limitedFate) {
					t.Errorf("%s: %s over %s: %v, want %v", test.name, test.program, stack.Name, v, test.want)
					break
				}
			}
			if !met {
				t.Errorf("%s: %s over %s was never %v", test.name, test.program, stack.Name, test.want)
			}
		}
	}
}

// A deadlock costs no time: not even that of a clock that is not real.
func TestDeadlockIsFoundWithoutAClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early := Stack{Name: "early", Server: func(conn net.Conn, config *tls.Config) Conn {
			return &writesFirst{Conn: Tlsstream().Server(conn, config), transport: conn}
		}, Client: Tlsstream().Client}
		v := modelled(t, early, "client=w9000,close;server=end,close", 1000, 0)
		if v.Class != Deadlock {
			t.Errorf("got %v", v)
		}
	})
}

// writesFirst writes more than the buffers hold before it reads.
type writesFirst struct {
	Conn
	transport net.Conn
}

func (c *writesFirst) Read(p []byte) (int, error) {
	if _, err := c.transport.Write(make([]byte, 5000)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// A side that waits for anything but its transport is a deadlock, too, by the clock.
func TestHiddenWaitIsADeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		stack := Stack{Name: "hidden", Client: Tlsstream().Client, Server: func(conn net.Conn, config *tls.Config) Conn {
			return hiddenWait{Tlsstream().Server(conn, config), never}
		}}
		v := modelled(t, stack, "client=w1,close;server=end,close", 1000, 0)
		if want := "the server " + errHidden.Error(); v.Class != Deadlock || v.Stacks == "" || !strings.Contains(v.Detail, want) {
			t.Errorf("got %v, want %q", v, want)
		}
		close(never)
	})
}

type hiddenWait struct {
	Conn
	until chan struct{}
}

func (c hiddenWait) Read(p []byte) (int, error) {
	<-c.until
	return c.Conn.Read(p)
}

// A panic of a stack is a verdict on it, and does not end the plan.
func TestPanicInAProgramIsAVerdict(t *testing.T) {
	for name, call := range map[string]func(net.Conn, Conn) Conn{
		"maker": func(net.Conn, Conn) Conn { panic("out of cheese\x1b[31m") },
		"Read":  func(_ net.Conn, c Conn) Conn { return panickingRead{c} },
	} {
		stack := Stack{Name: "panicking", Client: Tlsstream().Client, Server: func(conn net.Conn, config *tls.Config) Conn {
			return call(conn, Tlsstream().Server(conn, config))
		}}
		v := modelled(t, stack, "client=w1,end,close;server=end,close", 1000, 0)
		if want := `the server panicked: "out of cheese\x1b[31m"`; v.Class != WrongError || v.Stacks == "" || !strings.Contains(v.Detail, want) {
			t.Errorf("%s: got %v, want %s", name, v, want)
		}
	}
}

type panickingRead struct{ Conn }

func (panickingRead) Read([]byte) (int, error) { panic("out of cheese\x1b[31m") }
