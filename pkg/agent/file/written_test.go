package file

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// written is a diff of testdata/patches, with what comes of it here and elsewhere. A file there has
// a sentence, lines such as "git: refuses", and sections that begin with "=== ": the files before,
// PATCH, and the files AFTER. "x " and "l " before a name mean executable and a link. ␍ stands for CR,
// and ␄ at the end of a section says that there is no line break.
type written struct {
	// git and patch say whether that tool has the same outcome, another one, or refuses the diff.
	git, patch string
	// err is what the error of the agent holds; "" if it accepts the diff.
	err           string
	messages      []string
	before, after snapshot
	diff          string
}

func readWritten(t testing.TB, name string) written {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "␍", "\r")
	head, sections, _ := strings.Cut(text, "\n=== ")
	test := written{before: snapshot{}, after: snapshot{}}
	lines := bufio.NewScanner(strings.NewReader(head))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "git":
			test.git = value
		case "patch":
			test.patch = value
		case "error":
			test.err = value
		case "message":
			test.messages = append(test.messages, value)
		}
	}
	for section := range strings.SplitSeq(strings.TrimSuffix(sections, "\n"), "\n=== ") {
		title, body, _ := strings.Cut(section, "\n")
		body = strings.TrimSuffix(body+"\n", "␄\n")
		to, name := test.before, title
		if title == "PATCH" {
			test.diff = body
			continue
		}
		if after, found := strings.CutPrefix(title, "AFTER "); found {
			to, name = test.after, after
		}
		kind := "- "
		if bare, found := strings.CutPrefix(name, "x "); found {
			kind, name = "x ", bare
		} else if bare, found := strings.CutPrefix(name, "l "); found {
			kind, name = "-> ", bare
		}
		to[name] = kind + body
	}
	return test
}

// Diffs as people and models write them: what comes of each is in its file, with what git apply
// --recount and patch make of it.
func TestWrittenDiffsAgainstGitAndPatch(t *testing.T) {
	names, err := filepath.Glob("testdata/patches/*.txt")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d diffs, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			t.Parallel()
			test := readWritten(t, name)
			ours, message, err := applyOurs(t, test.before, test.diff)
			switch {
			case err == nil && test.err == "":
				if diff := test.after.diff(ours); diff != "" {
					t.Errorf("the result:\n%s", diff)
				}
				for _, want := range test.messages {
					if !strings.Contains(message, want) {
						t.Errorf("the message is %q, which lacks %q", message, want)
					}
				}
			case err == nil || test.err == "" || !strings.Contains(err.Error(), test.err):
				t.Errorf("error %v, want %q", err, test.err)
			case test.before.diff(test.after) != "":
				t.Error("the case has an error, but also a change")
			}
			test.compare(t, gitApply, test.git)
			test.compare(t, gnuPatch, test.patch)
		})
	}
}

// compare checks what the file says of a tool.
func (w written) compare(t *testing.T, by tool, want string) {
	if !slices.Contains([]string{"same", "differs", "refuses"}, want) {
		t.Fatalf("the file does not say what %s makes of it", by.name)
	}
	t.Run(by.name, func(t *testing.T) {
		need(t, by.name)
		after, err := applyWith(t, by, w.before, w.diff, false)
		got := "same"
		if err != nil {
			got = "refuses"
		} else if w.after.diff(after) != "" {
			got = "differs"
		}
		if got != want {
			t.Errorf("%s: %s, want %s: %v\n%s", by.name, got, want, err, w.after.diff(after))
		}
	})
}
