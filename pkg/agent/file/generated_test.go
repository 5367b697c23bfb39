package file

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// generatedCases is how many diffs are generated and compared.
const generatedCases = 320

// spoiling is something that happens to a diff or to the files between making and applying it.
type spoiling struct {
	name string
	// do returns the diff and changes the files.
	do func(r *rand.Rand, files snapshot, diff string) string
	// text: it makes sense for text only, so the diff has no binary files.
	text bool
	// lineEnds: only line ends are spoiled, so that the result is that of the diff as it was but for them.
	lineEnds bool
}

var spoilings = []spoiling{
	{name: "as it is", do: func(_ *rand.Rand, _ snapshot, diff string) string { return diff }},
	{name: "lines moved", text: true, do: func(r *rand.Rand, files snapshot, diff string) string {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			insertLines(r, files, name)
		}
		return diff
	}},
	{name: "wrong numbers", text: true, do: func(r *rand.Rand, _ snapshot, diff string) string {
		// Git goes by the new position and patch by the old, as does the agent: both are as wrong.
		shift := 2 + r.IntN(20)
		return hunkNumbers.ReplaceAllStringFunc(diff, func(header string) string {
			numbers := hunkNumbers.FindStringSubmatch(header)
			before, _ := strconv.Atoi(numbers[1])
			after, _ := strconv.Atoi(numbers[2])
			return fmt.Sprintf("@@ -%d,%d +%d,%d @@", before+shift, 1+r.IntN(9), after+shift, 1+r.IntN(9))
		})
	}},
	{name: "lines changed", text: true, do: func(r *rand.Rand, files snapshot, diff string) string {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if text := files[name]; !strings.HasPrefix(text, "-> ") && r.IntN(2) == 0 {
				lines := strings.SplitAfter(text[2:], "\n")
				lines[r.IntN(len(lines))] = "changed\n"
				files[name] = text[:2] + strings.Join(lines, "")
			}
		}
		return diff
	}},
	{name: "blank context without spaces", text: true, do: func(_ *rand.Rand, _ snapshot, diff string) string {
		return strings.ReplaceAll(diff, "\n \n", "\n\n")
	}},
	{name: "sent with CRLF", text: true, lineEnds: true, do: func(_ *rand.Rand, _ snapshot, diff string) string {
		return strings.ReplaceAll(diff, "\n", "\r\n")
	}},
	{name: "files with CRLF", text: true, lineEnds: true, do: func(_ *rand.Rand, files snapshot, diff string) string {
		for name, text := range files {
			files[name] = strings.ReplaceAll(text, "\n", "\r\n")
		}
		return diff
	}},
	{name: "text around", do: func(_ *rand.Rand, _ snapshot, diff string) string {
		return "Here is the change:\n\n" + diff + "-- \n2.39.5\n"
	}},
}

var hunkNumbers = regexp.MustCompile(`(?m)^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@`)

// Generated diffs of trees, some of them spoiled: what git apply accepts gives the same tree here, and
// so does what patch accepts unless git finds another place.
func TestGeneratedDiffsAgainstGitAndPatch(t *testing.T) {
	need(t, "git", "patch")
	var mutex = make(chan struct{}, 1)
	tally := map[string]int{}
	t.Run("cases", func(t *testing.T) {
		for i := range generatedCases {
			spoiled := spoilings[i%len(spoilings)]
			t.Run(fmt.Sprintf("%d %s", i, spoiled.name), func(t *testing.T) {
				t.Parallel()
				outcome := compareGenerated(t, uint64(i), spoiled)
				mutex <- struct{}{}
				tally[spoiled.name+": "+outcome]++
				<-mutex
			})
		}
	})
	compared := 0
	for _, outcome := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("%4d %s", tally[outcome], outcome)
		if !strings.HasSuffix(outcome, "no difference") {
			compared += tally[outcome]
		}
	}
	if compared < 200 {
		t.Errorf("only %d diffs were compared", compared)
	}
}

func compareGenerated(t *testing.T, seed uint64, spoiled spoiling) (outcome string) {
	r := rand.New(rand.NewPCG(seed, 7))
	before := randomTree(r, spoiled.text)
	after := changeTree(r, before)
	context := []int{3, 3, 3, 1, 8}[r.IntN(5)]
	diff := makeDiff(t, before, after, context)
	if diff == "" {
		return "no difference"
	}
	files := maps.Clone(before)
	whole := diff
	diff = spoiled.do(r, files, diff)
	if spoiled.lineEnds {
		compareLineEnds(t, before, whole, files, diff)
		return "as git but for line ends"
	}
	git, gitErr := applyWith(t, gitApply, files, diff, false)
	ours, message, err := applyOurs(t, files, diff)
	explain := func() string {
		return fmt.Sprintf("the diff:\n%s\nbefore: %q\nours: %q %v\ngit: %v", diff, files, message, err, gitErr)
	}
	switch {
	case gitErr == nil && err != nil:
		t.Errorf("git apply accepts the diff: %s", explain())
	case gitErr == nil && git.diff(ours) != "":
		t.Errorf("git apply has another result:\n%s%s", git.diff(ours), explain())
	case gitErr == nil:
		return "as git"
	}
	if strings.Contains(diff, "GIT binary patch") {
		return "git refuses"
	}
	patched, patchErr := applyWith(t, gnuPatch, files, diff, false)
	switch {
	case patchErr == nil && err != nil:
		t.Errorf("patch accepts the diff: %s", explain())
	case patchErr == nil && patched.diff(ours) != "":
		t.Errorf("git refuses and patch has another result:\n%s%s", patched.diff(ours), explain())
	case patchErr == nil:
		return "git refuses, as patch"
	case err == nil:
		return "accepted here only"
	}
	return "refused by all"
}

// compareLineEnds compares the result with that of git for the diff and the files with LF. Each file
// has line ends of one kind.
func compareLineEnds(t *testing.T, before snapshot, diff string, spoiledFiles snapshot, spoiledDiff string) {
	git, err := applyWith(t, gitApply, before, diff, false)
	if err != nil {
		t.Fatal(err)
	}
	ours, message, err := applyOurs(t, spoiledFiles, spoiledDiff)
	for name, text := range ours {
		if with := strings.Count(text, "\r\n"); with > 0 && with < strings.Count(text, "\n") {
			t.Errorf("%s is mixed: %q", name, text)
		}
		ours[name] = strings.ReplaceAll(text, "\r\n", "\n")
	}
	if err != nil || git.diff(ours) != "" {
		t.Errorf("%v, %s\n%s\nthe diff:\n%s\nbefore: %q", err, message, git.diff(ours), diff, before)
	}
}

// words make lines that occur more than once.
var words = []string{"", "\tx := 1", "}", "a", "b", "return", "if x {", "  indented", "-- dashes", "+plus", "@@ at", "\\ back"}

func randomLines(r *rand.Rand, count int) string {
	var text strings.Builder
	for range count {
		word := words[r.IntN(len(words))]
		if r.IntN(3) == 0 {
			word = fmt.Sprintf("line %d", r.IntN(1000))
		}
		text.WriteString(word + "\n")
	}
	if r.IntN(6) == 0 {
		return strings.TrimSuffix(text.String(), "\n")
	}
	return text.String()
}

func randomTree(r *rand.Rand, textOnly bool) snapshot {
	tree := snapshot{}
	names := []string{"f", "dir/g", "dir/sub/h", "with space/a b", "é\"q\"", "z"}
	for _, name := range names[:1+r.IntN(len(names))] {
		kind := "- "
		if r.IntN(5) == 0 {
			kind = "x "
		}
		tree[name] = kind + randomLines(r, r.IntN(60))
	}
	if !textOnly {
		tree["binary"] = "- \x00" + randomLines(r, 40)
		tree["link"] = "-> f"
	}
	return tree
}

// changeTree returns a tree with some files changed.
func changeTree(r *rand.Rand, before snapshot) snapshot {
	after := snapshot{}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		text := before[name]
		if strings.HasPrefix(text, "-> ") {
			if r.IntN(2) == 0 {
				text = "-> z"
			}
			after[name] = text
			continue
		}
		switch r.IntN(10) {
		case 0:
			continue
		case 1:
			after["renamed "+name] = text
		case 2:
			after["renamed/"+name] = text[:2] + changeLines(r, text[2:], 1)
		case 3:
			after[name], after[name+".copy"] = text, text
		case 4:
			after[name] = "x " + text[2:]
		case 5:
			after[name], after["new/"+name] = text, "- "+randomLines(r, 5)
		default:
			after[name] = text[:2] + changeLines(r, text[2:], 1+r.IntN(4))
		}
	}
	return after
}

// changeLines changes, adds or removes a few lines.
func changeLines(r *rand.Rand, text string, times int) string {
	lines := strings.SplitAfter(text, "\n")
	for range times {
		at := r.IntN(len(lines))
		switch r.IntN(3) {
		case 0:
			lines = slices.Insert(lines, at, fmt.Sprintf("new %d\n", r.IntN(100)))
		case 1:
			lines[at] = words[r.IntN(len(words))] + "\n"
		default:
			if len(lines) > 1 {
				lines = slices.Delete(lines, at, at+1)
			}
		}
	}
	return strings.Join(lines, "")
}

// insertLines moves what a file holds.
func insertLines(r *rand.Rand, files snapshot, name string) {
	text := files[name]
	if strings.HasPrefix(text, "-> ") {
		return
	}
	lines := strings.SplitAfter(text[2:], "\n")
	for range 1 + r.IntN(2) {
		// Mostly at the beginning, so that whole hunks move.
		at := r.IntN(len(lines)) * r.IntN(2)
		lines = slices.Insert(lines, at, strings.TrimSuffix(randomLines(r, 3+r.IntN(8)), "\n")+"\n")
	}
	files[name] = text[:2] + strings.Join(lines, "")
}

// renamedNames are the lines in which git diff --no-prefix leaves the directories that are compared.
var renamedNames = regexp.MustCompile(`(?m)^((?:rename|copy) (?:from|to) "?)[ab]/`)

// makeDiff returns git's diff of two trees, with the prefixes a/ and b/.
func makeDiff(t testing.TB, before, after snapshot, context int) string {
	t.Helper()
	dir := t.TempDir()
	for name, tree := range map[string]snapshot{"a": before, "b": after} {
		if err := os.Rename(tree.write(t), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	diff, err := in(t, dir, "", "git", "diff", "--no-index", "--no-prefix", "--binary", "--full-index",
		"-M", "-C", "--find-copies-harder", fmt.Sprintf("-U%d", context), "a", "b")
	// 1 says that there are differences.
	if err != nil && !strings.HasPrefix(diff, "diff --git ") {
		t.Fatalf("git diff: %v: %s", err, diff)
	}
	return renamedNames.ReplaceAllString(diff, "$1")
}
