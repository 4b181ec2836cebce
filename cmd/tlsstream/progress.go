package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/deferredtls/deferredtls/torture"
)

const (
	liveInterval  = 100 * time.Millisecond
	plainInterval = 5 * time.Second
)

// A progress shows how far a plan has come: as a bar if w is a terminal, else on a line now and then.
type progress struct {
	w       io.Writer
	bar     *progressbar.ProgressBar // nil if w is no terminal
	soak    time.Duration            // zero if the plan ends by itself
	started time.Time
	shown   time.Time
	last    torture.Progress
	what    string // is counted
}

func newProgress(w io.Writer, soak time.Duration) *progress {
	now := time.Now()
	p := &progress{w: w, soak: soak, started: now, shown: now, what: "runs"}
	p.bar = newBar(w, progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false))
	return p
}

// newBar returns a bar that rewrites a line of w; nil if w is no terminal.
func newBar(w io.Writer, options ...progressbar.Option) *progressbar.ProgressBar {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return progressbar.NewOptions64(-1, append([]progressbar.Option{
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(liveInterval),
		progressbar.OptionClearOnFinish(),
	}, options...)...)
}

// update is a torture.Plan's Progress.
func (p *progress) update(now torture.Progress) {
	p.last = now
	if p.bar != nil {
		done, most := int64(now.Done), int64(now.Total)
		if p.soak > 0 {
			done, most = int64(min(time.Since(p.started), p.soak)), int64(p.soak)
		}
		// The bar ends, and would be drawn no more, when it is full.
		p.bar.ChangeMax64(most + 1)
		p.bar.Describe(p.String())
		p.bar.Set64(done)
		return
	}
	if time.Since(p.shown) >= plainInterval {
		p.shown = time.Now()
		fmt.Fprintln(p.w, p)
	}
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Clear()
	}
}

// String says how far it is.
func (p *progress) String() string {
	seconds := int(time.Since(p.started).Seconds())
	if p.soak > 0 {
		return fmt.Sprintf("%d %s, %d of %d s", p.last.Done, p.what, seconds, int(p.soak.Seconds()))
	}
	return fmt.Sprintf("%d of %d %s, %d s", p.last.Done, p.last.Total, p.what, seconds)
}
