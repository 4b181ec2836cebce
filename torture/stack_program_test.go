package torture

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A foil is a program for these tests: this binary, which does one thing wrong.
func foil(role, fault string) func(ProgramTrial) ([]string, error) {
	return func(p ProgramTrial) ([]string, error) {
		return []string{os.Args[0], "-test.run=^TestFoil$", "--", role, fault, p.address(), p.CAFile, p.CertFile, p.KeyFile}, nil
	}
}

const foilDrops = 1000 // bytes at the end

// TestFoil is the program itself, and nothing where it is run as a test.
func TestFoil(t *testing.T) {
	i := slices.Index(os.Args, "--")
	if i < 0 {
		t.Skip("run as a program by other tests")
	}
	args := os.Args[i+1:]
	run := map[string]func([]string) error{"server": foilServer, "client": foilClient}[args[0]]
	if err := run(args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func foilServer(args []string) error {
	fault, address := args[0], args[1]
	cert, err := tls.LoadX509KeyPair(args[3], args[4])
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", address, &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		return err
	}
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	conn.Close()
	switch fault {
	case "drops":
		all = all[:len(all)-foilDrops]
	case "flips":
		all[foilDrops] ^= 1
	}
	if _, err := os.Stdout.Write(all); err != nil {
		return err
	}
	switch fault {
	case "fails":
		return fmt.Errorf("the disk is full")
	case "hangs":
		time.Sleep(time.Hour)
	}
	return nil
}

func foilClient(args []string) error {
	fault, address := args[0], args[1]
	if fault == "does not connect" {
		return fmt.Errorf("no such host")
	}
	pem, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		return err
	}
	all, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if fault == "drops" {
		all = all[:len(all)-foilDrops]
	}
	if _, err := conn.Write(all); err != nil {
		return err
	}
	return conn.Close()
}

// foilStall, times lockPatience, is longer than the second that a program built with -race takes to exit.
const foilStall = 500 * time.Millisecond

func runPrograms(t *testing.T, p Program) (*Report, error) {
	t.Helper()
	return Run(t.Context(), Plan{
		Stacks:    []Stack{Tlsstream()},
		Scenarios: p.Scenarios(),
		Networks:  []Network{{Name: "tcp", StallAfter: foilStall}},
		Runs:      1,
		SizeBytes: 100_000,
	})
}

func TestProgramsAreJudgedByWhatTheyDo(t *testing.T) {
	testName := strings.TrimSuffix(os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:], ".exe")
	for _, test := range []struct {
		program Program
		want    Verdict
	}{
		{Program{Name: "server", Server: foil("server", "")}, Verdict{}},
		{Program{Name: "client", Client: foil("client", "")}, Verdict{}},
		{Program{Name: "server drops", Server: foil("server", "drops")}, Verdict{Class: SilentLoss, LostBytes: foilDrops,
			Detail: "the server read 99000 of 100000 bytes, then success; the client was told success"}},
		{Program{Name: "client drops", Client: foil("client", "drops")}, Verdict{Class: SilentLoss, LostBytes: foilDrops,
			Detail: "the server read 99000 of 100000 bytes, then success; the client was told success"}},
		{Program{Name: "server flips", Server: foil("server", "flips")}, Verdict{Class: Corrupted,
			Detail: "the server read a wrong byte at offset 1000"}},
		{Program{Name: "server fails", Server: foil("server", "fails")}, Verdict{Class: WrongError,
			Detail: `every byte arrived; the client was told success; the server was told "` + testName + `: exit status 1: the disk is full"`}},
		{Program{Name: "server hangs", Server: foil("server", "hangs")}, Verdict{Class: Deadlock,
			Detail: "the client has ended, the server waits in read (transport read)"}},
		{Program{Name: "absent", Server: func(ProgramTrial) ([]string, error) { return []string{"no-such-program-here"}, nil }},
			Verdict{Class: Skipped, Detail: "no-such-program-here is not installed"}},
	} {
		t.Run(test.program.Name, func(t *testing.T) {
			report, err := runPrograms(t, test.program)
			if err != nil {
				t.Fatal(err)
			}
			row := report.Rows[0]
			got := Verdict{Class: row.Verdict, Detail: row.Reason}
			if row.FirstFailure != nil {
				got = row.FirstFailure.Verdict
				got.Stacks = "" // those of a deadlock are for people
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("verdict, -want +got:\n%s", diff)
			}
		})
	}
}

// A row that was skipped did not pass, and nobody may count it as if it had.
func TestSkippedIsNotPassed(t *testing.T) {
	absent := Program{Name: "absent", Client: func(ProgramTrial) ([]string, error) { return []string{"no-such-program-here"}, nil }}
	report, err := runPrograms(t, absent)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Skipped rows: 1. They need what this machine does not have."}
	if diff := cmp.Diff(want, report.Summary()); diff != "" {
		t.Errorf("summary, -want +got:\n%s", diff)
	}
	var table strings.Builder
	if err := report.WriteTable(&table); err != nil || !strings.Contains(table.String(), "\nskipped: no-such-program-here is not installed\n") {
		t.Errorf("%v, table:\n%s", err, &table)
	}
}

func TestProgramThatIsNotThereEndsThePlan(t *testing.T) {
	for want, p := range map[string]Program{
		"mute did not connect": {Name: "mute", Client: foil("client", "does not connect")},
		"deaf did not listen":  {Name: "deaf", Server: foil("client", "does not connect")},
	} {
		_, err := runPrograms(t, p)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "no such host") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// Neither a process nor a file outlives its plan.
func TestProgramsLeaveNothingBehind(t *testing.T) {
	var w workshop
	t.Setenv("TMPDIR", t.TempDir())
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	args, err := foil("server", "hangs")(w.trial(port))
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.start(t.Context(), args)
	if err != nil {
		t.Fatal(err)
	}
	conn := p.connect(t.Context(), port)
	if conn == nil {
		t.Fatal(p.ended())
	}
	conn.Close()
	p.Close()
	if err := p.ended(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
	if conn, err := net.Dial("tcp", (ProgramTrial{Port: port}).address()); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	w.close()
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A plan that is stopped stops its programs.
func TestCancelledPlanEndsItsPrograms(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	stack := Tlsstream()
	client := stack.Client
	stack.Client = func(conn net.Conn, config *tls.Config) Conn {
		cancel(io.ErrNoProgress)
		return client(conn, config)
	}
	_, err := Run(ctx, Plan{
		Stacks:    []Stack{stack},
		Scenarios: Program{Name: "hangs", Server: foil("server", "hangs")}.Scenarios(),
		Networks:  []Network{{Name: "tcp", StallAfter: time.Hour}},
		Runs:      1,
	})
	if err != io.ErrNoProgress {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
