package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/deferredtls/deferredtls/torture"
)

const (
	liveInterval  = 100 * time.Millisecond
	plainInterval = 5 * time.Second

	clearLine = "\r\x1b[K"
)

// A progress shows how far a plan has come: on one line that is rewritten if w is a terminal, else on a line now and
// then.
type progress struct {
	w        io.Writer
	terminal *os.File // w, if it is one
	started  time.Time
	shown    time.Time
	last     torture.Progress
}

func newProgress(w io.Writer) *progress {
	now := time.Now()
	p := &progress{w: w, started: now, shown: now}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = f
	}
	return p
}

// update is a torture.Plan's Progress.
func (p *progress) update(now torture.Progress) {
	p.last = now
	interval := plainInterval
	if p.terminal != nil {
		interval = liveInterval
	}
	if time.Since(p.shown) < interval {
		return
	}
	p.shown = time.Now()
	if p.terminal == nil {
		fmt.Fprintln(p.w, p)
		return
	}
	line := fmt.Sprintf("%v  %s over %s, %s", p, now.Scenario, now.Network, now.Stack)
	// A line that wraps cannot be rewritten.
	if width, _, err := term.GetSize(int(p.terminal.Fd())); err == nil && width > 0 {
		line = line[:min(len(line), width-1)]
	}
	io.WriteString(p.w, clearLine+line)
}

// end removes the live line.
func (p *progress) end() {
	if p.terminal != nil {
		io.WriteString(p.w, clearLine)
	}
}

// String says how far it is.
func (p *progress) String() string {
	return fmt.Sprintf("%d of %d runs, %d s", p.last.Done, p.last.Total, int(time.Since(p.started).Seconds()))
}
