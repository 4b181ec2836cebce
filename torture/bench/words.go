package bench

import (
	"strings"
	"sync"
)

// How much is kept of what a process says. A panic tells its cause first, most programs theirs last.
const (
	firstBytes = 200
	lastBytes  = 300
)

// words keeps the beginning and the end of what is written to it.
type words struct {
	mu          sync.Mutex
	first, last []byte
	omitted     bool
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(p), firstBytes-len(w.first))
	w.first = append(w.first, p[:n]...)
	w.last = append(w.last, p[n:]...)
	if over := len(w.last) - lastBytes; over > 0 {
		w.last, w.omitted = w.last[over:], true
	}
	return len(p), nil
}

// text is in one line.
func (w *words) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	between := ""
	if w.omitted {
		between = " [...] "
	}
	return oneLine(string(w.first) + between + string(w.last))
}

// oneLine makes the lines of an error, or of a program, one.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}
