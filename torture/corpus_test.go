package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A corpusFile is one case of the past. The file has comment lines that say what it reproduces, then the lines
//
//	case ID
//	control CLASS
//	ours CLASS
//
// with the case as stdlib plays it, and the verdicts that are expected of stdlib and of those of this module's stacks that
// promise to pass the scenario.
type corpusFile struct {
	c             Case
	control, ours Class
}

func parseCorpusFile(text string) (corpusFile, error) {
	var file corpusFile
	var story bool
	var keys []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			story = story || strings.TrimSpace(comment) != ""
			continue
		}
		if line == "" {
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		keys = append(keys, key)
		var err error
		switch key {
		case "case":
			file.c, err = ParseCase(value)
		case "control":
			err = file.control.UnmarshalText([]byte(value))
		case "ours":
			err = file.ours.UnmarshalText([]byte(value))
		}
		if err != nil {
			return file, err
		}
	}
	if !story || !slices.Equal(keys, []string{"case", "control", "ours"}) {
		return file, fmt.Errorf("want comments, then the lines case, control and ours; got %q", keys)
	}
	return file, nil
}

// What was found once stays found.
func TestCorpus(t *testing.T) {
	names, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parseCorpusFile(string(text))
			if err != nil {
				t.Fatal(err)
			}
			for _, stack := range []Stack{Stdlib(), Tlsstream(), TlsstreamListener()} {
				if slices.Contains(stack.Except, file.c.Scenario) {
					continue
				}
				want := file.ours
				if stack.Name == Stdlib().Name {
					want = file.control
				}
				c := file.c
				c.Stack = stack.Name
				played, err := Replay(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if played.Verdict.Class != want {
					t.Errorf("%s: %v, want %v\nto play it again: tlsstream torture replay %v\n%s",
						stack.Name, played.Verdict, want, c, played.Verdict.Stacks)
				}
			}
		})
	}
}
