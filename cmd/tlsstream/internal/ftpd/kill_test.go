package ftpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// killSeed makes a test's random moments, and prints how to have them again.
func killSeed(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// What uploads send that are killed, and when: an upload takes about half a second
// (see slowly), so some are killed before it, and some come through.
const (
	killSize   = 2 << 20
	killWithin = 800 * time.Millisecond
)

var killContent = randomBytes(killSize)

// checkNames looks at all of a folder: what has a final name must be whole. It
// returns how many files have one, and how many are partial.
func checkNames(t *testing.T, root string) (whole, partial int) {
	t.Helper()
	files, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if isPartial(file.Name()) {
			partial++
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if sum(content) != sum(killContent) {
			t.Errorf("a part of an upload has the final name %s: %d bytes of %d", file.Name(), len(content), killSize)
		}
		whole++
	}
	return whole, partial
}

// slowly makes a client's command slow enough to be killed in the middle.
func slowly(c *client, cmd *exec.Cmd) {
	switch c.program {
	case "curl":
		cmd.Args = append(cmd.Args, "--limit-rate", "4M")
	case "lftp":
		cmd.Args[len(cmd.Args)-1] = "set net:limit-rate 0:4000000; " + cmd.Args[len(cmd.Args)-1]
	}
}

// A client that is killed leaves a file under its final name only if it was whole.
func TestKilledClientLeavesNoPartialFileUnderAFinalName(t *testing.T) {
	random := killSeed(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, killContent, 0o600); err != nil {
		t.Fatal(err)
	}
	var killable []client
	for _, c := range clients {
		if c.program != "python3" { // takes longer to start than to upload
			killable = append(killable, c)
		}
	}
	s := startServer(t, func(config *Config) { config.MaxConnections = *kills + 10 })
	for i := range *kills {
		c := killable[i%len(killable)]
		cmd := c.command(t.Context(), t, s, file, fmt.Sprint(i))
		slowly(&c, cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(killWithin))))
		cmd.Process.Kill()
		cmd.Wait()
	}
	s.awaitIdle(t)
	whole, partial := checkNames(t, s.root)
	t.Logf("%d killed: %d whole, %d partial, the others sent nothing", *kills, whole, partial)
	if partial == 0 {
		t.Error("no client was killed in the middle")
	}
}

// A client that gives up by itself may say close_notify: it has not waited for the
// reply.
func TestClientThatGivesUpLeavesNoPartialFileUnderAFinalName(t *testing.T) {
	random := killSeed(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, killContent, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, nil)
	for i := range *kills {
		c := clients[i%3]
		cmd := c.command(t.Context(), t, s, file, fmt.Sprint(i))
		seconds := 0.4 + 0.6*random.Float64()
		cmd.Args = append(cmd.Args, "--limit-rate", "1M", "--max-time", fmt.Sprint(seconds))
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Fatalf("it did not give up: %s", out)
		}
	}
	s.awaitIdle(t)
	whole, partial := checkNames(t, s.root)
	t.Logf("%d gave up: %d whole, %d partial, the others sent nothing", *kills, whole, partial)
	if partial == 0 {
		t.Error("no client gave up in the middle")
	}
}

// awaitIdle waits until the server has no session.
func (s *testServer) awaitIdle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); len(s.slots) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions do not end", len(s.slots))
		}
	}
}

// serverEnv makes the test binary a server that serves the folder it names, until
// it is killed.
const serverEnv = "FTPD_TEST_SERVE"

func TestMain(m *testing.M) {
	if root := os.Getenv(serverEnv); root != "" {
		if err := serveForever(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func serveForever(root string) error {
	users := NewUsers()
	if err := users.Add(User{Name: testUser, Root: root}, os.Getenv(serverEnv+"_HASH")); err != nil {
		return err
	}
	ca := testCA
	if _, _, _, err := ca.WriteFiles(root + "-ca"); err != nil {
		return err
	}
	s, err := New(Config{Users: users, TLS: ca.ServerConfig(), MaxConnections: 20, Idle: time.Minute, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return s.Serve(l, false)
}

// The same for the server: while it is dead, and after it, nothing partial has a
// final name, and what a client was told is done is whole.
func TestKilledServerLeavesNoPartialFileUnderAFinalName(t *testing.T) {
	random := killSeed(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, killContent, 0o600); err != nil {
		t.Fatal(err)
	}
	hash := string(testUsers(t, User{Name: testUser}).byName[testUser].hash)
	root := filepath.Join(t.TempDir(), "root")
	for _, folder := range []string{root, root + "-ca"} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	curl := clients[0]
	done := 0
	for i := range *kills {
		server := exec.CommandContext(t.Context(), os.Args[0])
		server.Env = append(os.Environ(), serverEnv+"="+root, serverEnv+"_HASH="+hash)
		server.Stderr = io.Discard
		stdout, err := server.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		addr, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		s := &testServer{root: root, explicit: strings.TrimSpace(addr), caFile: filepath.Join(root+"-ca", "ca.pem")}
		ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
		cmd := curl.command(ctx, t, s, file, fmt.Sprint(i))
		slowly(&curl, cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(killWithin))))
		server.Process.Kill()
		server.Wait()
		if cmd.Wait() == nil {
			done++
			if s.has(t, fmt.Sprint(i)) != sum(killContent) {
				t.Error("a client was told that its upload is done, and it is not whole")
			}
		}
		cancel()
	}
	whole, partial := checkNames(t, root)
	t.Logf("server killed %d times: %d whole (%d clients knew), %d partial, the others had sent nothing", *kills, whole, done, partial)
	if partial == 0 {
		t.Error("the server was never killed in the middle")
	}
}
