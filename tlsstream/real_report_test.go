package tlsstream_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// An uploadReport gathers rows into a table, and logs it when the test ends (go test -v).
type uploadReport struct {
	mu    sync.Mutex
	cells map[string]map[int]string
	sizes []int
}

func newUploadReport(t *testing.T) *uploadReport {
	report := &uploadReport{cells: make(map[string]map[int]string)}
	t.Cleanup(func() { t.Log(report) })
	return report
}

func (u *uploadReport) add(r row, lost []int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	line := fmt.Sprintf("| %s | %s | %v | %s |", r.uploader.name, r.reader(), r.auth, r.stack.name)
	if u.cells[line] == nil {
		u.cells[line] = make(map[int]string)
	}
	slices.Sort(lost)
	failed := len(lost) - max(0, slices.IndexFunc(lost, func(n int) bool { return n > 0 }))
	if lost[len(lost)-1] == 0 {
		failed = 0
	}
	u.cells[line][r.size] = fmt.Sprintf("%d/%d", failed, len(lost))
	if median := lost[len(lost)/2]; median > 0 {
		u.cells[line][r.size] += fmt.Sprintf(" (%d KiB)", median>>10)
	}
	if !slices.Contains(u.sizes, r.size) {
		u.sizes = append(u.sizes, r.size)
	}
}

func (u *uploadReport) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	slices.Sort(u.sizes)
	var b strings.Builder
	b.WriteString("runs that lost bytes / runs (median loss)\n| client | reader | auth | stack |")
	for _, size := range u.sizes {
		fmt.Fprintf(&b, " %s |", sizeName(size))
	}
	var lines []string
	for line := range u.cells {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	for _, line := range lines {
		b.WriteString("\n" + line)
		for _, size := range u.sizes {
			fmt.Fprintf(&b, " %s |", u.cells[line][size])
		}
	}
	return b.String()
}
