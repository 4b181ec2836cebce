package torture

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
)

// A goroutine inherits the profiler labels of the one that started it. So each side of a trial runs under two labels,
// and what a stack starts can be found, and told from what another trial started, without the stack's help.
const (
	trialLabel = "torture-trial"
	sideLabel  = "torture-side"
)

const (
	// maxStackBytes bounds Verdict.Stacks: enough for some ten goroutines, and fit for a bug report.
	maxStackBytes = 8 << 10

	// maxFrames is how many calls of one goroutine are listed.
	maxFrames = 32
)

// labelled runs f as part of a trial.
func labelled(trial, side string, f func()) {
	pprof.Do(context.Background(), pprof.Labels(trialLabel, trial, sideLabel, side), func(context.Context) { f() })
}

// A goroutineGroup is goroutines of the same trial and side that stand at the same place.
type goroutineGroup struct {
	trial, side string
	count       int
	frames      []string
}

var labelPattern = regexp.MustCompile(`"(` + trialLabel + `|` + sideLabel + `)":("(?:[^"\\]|\\.)*")`)

// goroutines returns all that carry the label of a trial. The profile has functions and lines, and no arguments, so
// nothing that a stack keeps secret is in it.
func goroutines() []goroutineGroup {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return nil
	}
	var groups []goroutineGroup
	for block := range strings.SplitSeq(profile.String(), "\n\n") {
		var group goroutineGroup
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			if count, _, ok := strings.Cut(line, " @ "); ok {
				group.count, _ = strconv.Atoi(count)
			} else if strings.HasPrefix(line, "# labels: ") {
				for _, label := range labelPattern.FindAllStringSubmatch(line, -1) {
					value, _ := strconv.Unquote(label[2])
					if label[1] == trialLabel {
						group.trial = value
					} else {
						group.side = value
					}
				}
			} else if frame := stackFrame(line); frame != "" && len(group.frames) < maxFrames {
				group.frames = append(group.frames, frame)
			}
		}
		if group.trial != "" {
			groups = append(groups, group)
		}
	}
	return groups
}

// stackFrame turns a line of the profile, "#", address, function and place with tabs between them, into function and place.
// Addresses differ from build to build, and the folders above a package from machine to machine.
func stackFrame(line string) string {
	fields := strings.Split(line, "\t")
	if len(fields) < 4 || fields[0] != "#" {
		return ""
	}
	function, _, _ := strings.Cut(strings.TrimSpace(fields[2]), "+0x")
	place := strings.Split(fields[len(fields)-1], "/")
	return function + "  " + strings.Join(place[max(0, len(place)-2):], "/")
}

// stacksOf lists the goroutines of one trial, both sides, in at most maxStackBytes.
func stacksOf(trial string, groups []goroutineGroup) string {
	var text strings.Builder
	for _, side := range []string{"client", "server"} {
		for _, group := range groups {
			if group.trial != trial || group.side != side {
				continue
			}
			fmt.Fprintf(&text, "%s, %d at:\n", side, group.count)
			for _, frame := range group.frames {
				fmt.Fprintf(&text, "    %s\n", frame)
			}
		}
	}
	if text.Len() <= maxStackBytes {
		return text.String()
	}
	cut := text.String()[:maxStackBytes]
	return cut[:strings.LastIndexByte(cut, '\n')+1] + "    and more\n"
}
