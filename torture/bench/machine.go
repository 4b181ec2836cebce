package bench

import (
	"bufio"
	"os"
	"runtime"
	"strings"
)

// A Machine is what the figures were measured on. It does not say whose it is.
type Machine struct {
	GOOS   string `json:"goos"`
	GOARCH string `json:"goarch"`
	Go     string `json:"go"`
	CPU    string `json:"cpu"` // empty if unknown
	Cores  int    `json:"cores"`
	Load   string `json:"load"` // at the start, of 1, 5 and 15 minutes; empty if unknown
}

func machine() Machine {
	return Machine{
		GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, Go: runtime.Version(), Cores: runtime.NumCPU(),
		CPU: cpuModel(), Load: load(),
	}
}

// cpuModel is known on Linux.
func cpuModel() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// load is known on Linux.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	const averages = 3
	if err != nil || len(fields) < averages {
		return ""
	}
	return strings.Join(fields[:averages], " ")
}
