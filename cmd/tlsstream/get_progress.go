package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A getProgress shows how much of a download has come: as a bar if w is a terminal, else on a line now and then.
type getProgress struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil if w is no terminal
	shown time.Time
}

func newGetProgress(w io.Writer) *getProgress {
	return &getProgress{w, newBar(w, progressbar.OptionShowBytes(true), progressbar.OptionShowCount(), progressbar.OptionUseIECUnits(true)), time.Now()}
}

// update is the Progress of a get.Config.
func (p *getProgress) update(done, total int64) {
	if p.bar != nil {
		// The bar ends, and would be drawn no more, when it is full.
		if total >= 0 {
			p.bar.ChangeMax64(total + 1)
		}
		p.bar.Set64(done)
		return
	}
	if time.Since(p.shown) < plainInterval {
		return
	}
	p.shown = time.Now()
	if total < 0 {
		fmt.Fprintf(p.w, "%d bytes\n", done)
		return
	}
	fmt.Fprintf(p.w, "%d of %d bytes\n", done, total)
}

// note prints a line in place of the bar, which is drawn again when more comes.
func (p *getProgress) note(line string) {
	p.end()
	fmt.Fprintf(p.w, "tlsstream: %s\n", line)
}

// end removes the bar.
func (p *getProgress) end() {
	if p.bar != nil {
		p.bar.Clear()
	}
}
