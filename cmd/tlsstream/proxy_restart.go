package main

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"github.com/cloudflare/tableflip"
)

// A restart passes the listening sockets on to a new process of the same program, when
// a signal asks for that. On systems without it nothing ever happens.
type restart struct {
	upgrader *tableflip.Upgrader // nil where there is none
	log      *slog.Logger
	signals  chan os.Signal
}

// newRestart may be called once in a process.
func newRestart(pidFile string, log *slog.Logger) (*restart, error) {
	r := &restart{log: log, signals: make(chan os.Signal, 1)}
	upgrader, err := tableflip.New(tableflip.Options{PIDFile: pidFile})
	switch {
	case errors.Is(err, tableflip.ErrNotSupported) && pidFile != "":
		return nil, &usageError{"--pid-file does not work on this system", "leave it out"}
	case errors.Is(err, tableflip.ErrNotSupported):
		return r, nil
	case err != nil:
		return nil, err
	}
	r.upgrader = upgrader
	if len(restartSignals) > 0 {
		signal.Notify(r.signals, restartSignals...)
	}
	return r, nil
}

// listen returns the listener that the old process had for a flag, or a new one.
func (r *restart) listen(flag, address string) (net.Listener, error) {
	if r.upgrader == nil {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, listenError(flag, address, err)
		}
		return l, nil
	}
	// By the flag, too: two may have the same address if its port is 0.
	key := flag + " " + address
	l, err := r.upgrader.Listener("tcp", key)
	if err != nil || l != nil {
		return l, err
	}
	if l, err = net.Listen("tcp", address); err != nil {
		return nil, listenError(flag, address, err)
	}
	if err := r.upgrader.AddListener("tcp", key, l.(*net.TCPListener)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// ready makes the old process stop accepting, if there is one, and obeys signals from now
// on.
func (r *restart) ready() error {
	if r.upgrader == nil {
		return nil
	}
	if err := r.upgrader.Ready(); err != nil {
		return err
	}
	go func() {
		for range r.signals {
			r.log.Info("starting anew")
			if err := r.upgrader.Upgrade(); err != nil {
				r.log.Error("the new process did not come up, this one goes on", "err", err)
			}
		}
	}()
	return nil
}

// replaced returns a channel that is closed when a new process has taken over.
func (r *restart) replaced() <-chan struct{} {
	if r.upgrader == nil {
		return nil
	}
	return r.upgrader.Exit()
}

// isAnother reports whether this process takes over from an old one.
func (r *restart) isAnother() bool { return r.upgrader != nil && r.upgrader.HasParent() }

// stop closes the copies of the listening sockets. From now on no process takes over.
func (r *restart) stop() {
	signal.Stop(r.signals)
	if r.upgrader != nil {
		r.upgrader.Stop()
	}
}
