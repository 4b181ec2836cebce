package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/probe"
	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
	"github.com/deferredtls/deferredtls/tlsstream"
)

// probedServers are what a script can start, each over the same listener.
var probedServers = map[string]func(l net.Listener, config *tls.Config) (close func() error){
	"stock": func(l net.Listener, config *tls.Config) func() error { return serveProbed(tls.NewListener(l, config)) },
	"ours": func(l net.Listener, config *tls.Config) func() error {
		return serveProbed(tlsstream.NewListener(l, config))
	},
	"plain":  func(l net.Listener, _ *tls.Config) func() error { return greetProbed(l, "220 ready\r\n") },
	"hangs":  func(l net.Listener, _ *tls.Config) func() error { return greetProbed(l, "") },
	"closed": func(l net.Listener, _ *tls.Config) func() error { l.Close(); return func() error { return nil } },
	"tls12": func(l net.Listener, config *tls.Config) func() error {
		config.MaxVersion = tls.VersionTLS12
		return serveProbed(tls.NewListener(l, config))
	},
}

func serveProbed(l net.Listener) func() error {
	server := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }),
		ErrorLog: log.New(io.Discard, "", 0), // of connections that the probe ended
	}
	go server.Serve(l)
	return server.Close
}

func greetProbed(l net.Listener, greeting string) func() error {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				io.WriteString(c, greeting)
				io.Copy(io.Discard, c)
			}()
		}
	}()
	return l.Close
}

// startProbed starts a server, writes its authority to a file, and returns its address.
func startProbed(name, caFile string, atEnd func(func())) (address string, err error) {
	start, ok := probedServers[name]
	if !ok {
		return "", errors.New("no server " + name)
	}
	ca := tlstest.NewCA()
	dir, err := os.MkdirTemp("", "probed")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file, _, _, err := ca.WriteFiles(dir)
	if err != nil {
		return "", err
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	stop := start(l, ca.ServerConfig())
	atEnd(func() { stop() })
	return l.Addr().String(), os.WriteFile(caFile, pem, 0o600)
}

// startForScript is the script command "probed SERVER CA-FILE": it sets ADDRESS.
func startForScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: probed server ca-file")
	}
	address, err := startProbed(args[0], ts.MkAbs(args[1]), ts.Defer)
	ts.Check(err)
	ts.Setenv("ADDRESS", address)
}

// Programs read the document. It must have the fields that --help describes, and no others.
func TestProbeJSONIsAsDocumented(t *testing.T) {
	type ending struct {
		Ending string `json:"ending"`
		Alert  string `json:"alert"`
	}
	type document struct {
		Version     int    `json:"version"`
		ExitStatus  int    `json:"exit_status"`
		Address     string `json:"address"`
		ServerName  string `json:"server_name"`
		StartTLS    string `json:"starttls"`
		Fingerprint string `json:"fingerprint"`
		Software    string `json:"software"`
		TLS         struct {
			Version     string `json:"version"`
			CipherSuite string `json:"cipher_suite"`
			ALPN        string `json:"alpn"`
			Verified    bool   `json:"verified"`
		} `json:"tls"`
		Tickets struct {
			Count        int    `json:"count"`
			Bytes        int    `json:"bytes"`
			When         string `json:"when"`
			UnaskedCount int    `json:"unasked_count"`
			UnaskedBytes int    `json:"unasked_bytes"`
			Each         []struct {
				Bytes        int     `json:"bytes"`
				When         string  `json:"when"`
				Milliseconds float64 `json:"milliseconds"`
			} `json:"each"`
		} `json:"tickets"`
		KeyUpdate struct {
			Answer       string  `json:"answer"`
			Milliseconds float64 `json:"milliseconds"`
			Note         string  `json:"note"`
		} `json:"key_update"`
		End struct {
			ending
			After string `json:"after"`
		} `json:"end"`
		Truncation struct {
			ending
			Reported bool `json:"reported"`
		} `json:"truncation"`
		Resumption struct {
			Resumes string `json:"resumes"`
			Note    string `json:"note"`
		} `json:"resumption"`
		Verdicts []struct {
			Use     string   `json:"use"`
			Verdict string   `json:"verdict"`
			Reasons []string `json:"reasons"`
		} `json:"verdicts"`
		Remedies []string `json:"remedies"`
		Error    *struct {
			Class   string `json:"class"`
			Side    string `json:"side"`
			Stage   string `json:"stage"`
			Message string `json:"message"`
			Hint    string `json:"hint"`
		} `json:"error"`
	}
	probeJSON := func(server string, wantStatus int) (got document) {
		t.Helper()
		ca := t.TempDir() + "/ca.pem"
		address, err := startProbed(server, ca, t.Cleanup)
		if err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), []string{"probe", "--json", "--ca", ca, address}, &stdout, &stderr); status != wantStatus {
			t.Fatalf("exit status %d, want %d\n%s", status, wantStatus, &stderr)
		}
		decoder := json.NewDecoder(&stdout)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if decoder.More() {
			t.Error("something follows the document")
		}
		if got.Version != 1 || got.ExitStatus != wantStatus || got.Address != address || got.ServerName != "127.0.0.1" {
			t.Errorf("%+v", got)
		}
		return got
	}

	got := probeJSON("stock", 2)
	var verdicts []string
	for _, v := range got.Verdicts {
		verdicts = append(verdicts, v.Use+": "+v.Verdict)
		if len(v.Reasons) == 0 {
			t.Errorf("%s has no reason", v.Use)
		}
	}
	if diff := cmp.Diff([]string{"uploads: unsafe", "one-way logs: unsafe", "HTTP/1.1: safe"}, verdicts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if tickets := got.Tickets; tickets.Count != 1 || len(tickets.Each) != 1 || tickets.When != "first-flight" || tickets.Bytes <= tickets.Each[0].Bytes ||
		tickets.UnaskedBytes != tickets.Bytes || got.KeyUpdate.Answer != "at-once" || got.KeyUpdate.Milliseconds <= 0 || got.Error != nil || len(got.Remedies) == 0 {
		t.Errorf("%+v", got)
	}

	got = probeJSON("plain", 4)
	if got.Error == nil || got.Error.Class != "not-tls" || got.Error.Side != "server" || got.Error.Stage == "" || got.Error.Message == "" || got.Error.Hint == "" {
		t.Errorf("%+v", got.Error)
	}
	if got.Verdicts == nil || got.Remedies == nil || got.Tickets.Each == nil {
		t.Error("a list is null")
	}
}

func TestEachProbeClassHasAnExitStatusOfItsOwn(t *testing.T) {
	taken := map[int]probe.Class{0: "safe", exitError: "error", exitInterrupted: probe.Interrupted, exitUnsafe: "unsafe", exitUnknown: "unknown"}
	for _, e := range probeExits {
		if other, ok := taken[e.status]; ok {
			t.Errorf("%v has exit status %d, as %v has", e.class, e.status, other)
		}
		taken[e.status] = e.class
	}
}

func TestInterruptedProbeHasItsStatus(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	if status := run(ctx, []string{"probe", "--json", "127.0.0.1:9"}, &stdout, &stderr); status != exitInterrupted {
		t.Errorf("exit status %d, want %d", status, exitInterrupted)
	}
	if stdout.Len() > 0 || stderr.String() != "tlsstream: interrupted (connecting)\n" {
		t.Errorf("printed %q, %q", &stdout, &stderr)
	}
}
