package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/cert"
	"github.com/deferredtls/deferredtls/cmd/tlsstream/internal/proxy"
)

// metricsTimeout is for the request of whoever asks for metrics.
const metricsTimeout = 10 * time.Second

// otherFiles is generous for what is open besides two sockets for each connection: the
// listeners and their copies, the log, metrics, certificates that are being read.
const otherFiles = 64

func runProxy(cmd *cobra.Command, flags *proxyFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	// Whoever reads the log, or what an earlier process announced, may go, and must not
	// take the connections along.
	signal.Ignore(syscall.SIGPIPE)
	log := newLog(cmd.ErrOrStderr(), flags.json, flags.verbose)
	config, source, err := flags.config(log)
	if err != nil {
		return err
	}
	if source != nil {
		config.Metrics.WatchCertificate(func() time.Time { return source.Leaf().NotAfter })
	}
	if limit, want := openFilesLimit(), uint64(2*flags.connections+otherFiles); limit > 0 && limit < want {
		log.Warn("this process may not open enough files for --max-connections", "limit", limit, "wanted", want)
	}
	restart, err := newRestart(flags.pidFile, log)
	if err != nil {
		return err
	}
	defer restart.stop()
	listener, err := restart.listen("--listen", flags.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	metrics := ""
	if flags.metrics != "" {
		l, err := restart.listen("--metrics", flags.metrics)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: config.Metrics.Handler(), ReadHeaderTimeout: metricsTimeout}
		go server.Serve(l)
		defer server.Close()
		metrics = "http://" + l.Addr().String() + "/metrics"
	}

	server := proxy.New(config)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := flags.announce(cmd.OutOrStdout(), listener.Addr(), metrics, source); err != nil && !restart.isAnother() {
		return fmt.Errorf("cannot write to standard output: %w", err)
	}
	if err := restart.ready(); err != nil {
		return err
	}

	ctx := cmd.Context()
	select {
	case err := <-served:
		return fmt.Errorf("cannot accept connections any more: %w", err)
	case <-restart.replaced():
		log.Info("another process has taken over, this one carries what it has to the end")
	case <-ctx.Done():
		log.Info("stopping, connections have time to end", "within", flags.drainTimeout.String())
		restart.stop() // or its copy of the listening socket would take connections for nobody
	}
	server.Stop()
	draining, cancel := flags.drainTime(ctx)
	defer cancel()
	if cut := server.Drain(draining); cut > 0 {
		log.Warn("connections had to be cut", "connections", cut)
		return exitStatus(exitCut)
	}
	return nil
}

// drainTime returns a context for as long as connections may take to end by
// themselves: from a stop on, or from a restart on until a stop comes, too.
func (flags *proxyFlags) drainTime(stop context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), flags.restartTimeout)
	context.AfterFunc(stop, func() { time.AfterFunc(flags.drainTimeout, cancel) })
	return ctx, cancel
}

func newLog(w io.Writer, asJSON, verbose bool) *slog.Logger {
	options := &slog.HandlerOptions{}
	if verbose {
		options.Level = slog.LevelDebug
	}
	if asJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// announce says what the program does now.
func (flags *proxyFlags) announce(w io.Writer, listen net.Addr, metrics string, source *cert.Source) error {
	if flags.json {
		return flags.announceJSON(w, listen, metrics, source)
	}
	out := &errWriter{w: w}
	front, behind := "TLS", "plain TCP"
	if flags.originate {
		front, behind = behind, front
	}
	fmt.Fprintf(out, "listening on %v (%s)\n", listen, front)
	if flags.to != "" {
		fmt.Fprintf(out, "backend %s (%s)\n", flags.to, behind)
	}
	for _, route := range flags.routes {
		fmt.Fprintf(out, "route %s\n", route)
	}
	if source != nil {
		kind := "certificate"
		if source.SelfSigned {
			kind = "self-signed certificate"
		}
		fmt.Fprintf(out, "%s sha256 %s\n%s pin %s\n", kind, source.Fingerprint(), kind, source.Pin())
	}
	if metrics != "" {
		fmt.Fprintf(out, "metrics %s\n", metrics)
	}
	return out.err
}

func (flags *proxyFlags) announceJSON(w io.Writer, listen net.Addr, metrics string, source *cert.Source) error {
	type certificate struct {
		SelfSigned bool      `json:"self_signed"`
		SHA256     string    `json:"sha256"`
		Pin        string    `json:"pin"`
		NotAfter   time.Time `json:"not_after"`
	}
	document := struct {
		Version     int          `json:"version"`
		PID         int          `json:"pid"`
		Listen      string       `json:"listen"`
		To          string       `json:"to"`
		Originate   bool         `json:"originate"`
		Metrics     string       `json:"metrics"`
		Certificate *certificate `json:"certificate"`
	}{1, os.Getpid(), listen.String(), flags.to, flags.originate, metrics, nil}
	if source != nil {
		document.Certificate = &certificate{source.SelfSigned, source.Fingerprint(), source.Pin(), source.Leaf().NotAfter}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

// listenError says which address cannot be had, and what to do about it.
func listenError(flag, address string, err error) error {
	hint := "check the address: it must be one of this machine's"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another program listens there: stop it, or choose another port"
	case errors.Is(err, syscall.EACCES):
		hint = "ports below 1024 need a right that this user does not have: choose another port"
	}
	return &usageError{fmt.Sprintf("cannot listen on %s %s: %v", flag, address, err), hint}
}
