package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const header = "--- a/f\n+++ b/f\n"

var patchCases = []struct {
	name   string
	before tree
	diff   string
	// want is the file afterwards; nil if it must not be there.
	want *string
	err  string
}{
	{
		name:   "two hunks",
		before: tree{"root/work/f": "a\nb\nc\nd\ne\nf\ng\nh\n"},
		diff:   header + "@@ -1,2 +1,3 @@\n a\n+new\n b\n@@ -7,2 +8,1 @@\n-g\n h\n",
		want:   new("a\nnew\nb\nc\nd\ne\nf\nh\n"),
	},
	{
		name:   "the second hunk fails, so the first is not applied either",
		before: tree{"root/work/f": "a\nb\nc\nd\n"},
		diff:   header + "@@ -1,1 +1,1 @@\n-a\n+A\n@@ -4,1 +4,1 @@\n-x\n+y\n",
		want:   new("a\nb\nc\nd\n"),
		err:    `hunk 2 of 2 (@@ -4,1 +4,1 @@) does not apply: line 4: expected "x", found "d"`,
	},
	{
		name:   "the file is too short",
		before: tree{"root/work/f": "a\n"},
		diff:   header + "@@ -5,2 +5,2 @@\n e\n-f\n+g\n",
		want:   new("a\n"),
		err:    "hunk 1 of 1 (@@ -5,2 +5,2 @@) does not apply: it needs lines 5 to 6, and the file has 1",
	},
	{
		name:   "a missing line break is told",
		before: tree{"root/work/f": "a"},
		diff:   header + "@@ -1 +1 @@\n-a\n+b\n",
		want:   new("a"),
		err:    `expected "a", found "a" without a line break`,
	},
	{
		name:   "no line break at the end",
		before: tree{"root/work/f": "a"},
		diff:   header + "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n",
		want:   new("b"),
	},
	{
		name:   "the diff has lost its last line break",
		before: tree{"root/work/f": "a\n"},
		diff:   header + "@@ -1 +1 @@\n-a\n+b",
		want:   new("b\n"),
	},
	{
		name: "a new file",
		diff: "--- /dev/null\n+++ b/f\n@@ -0,0 +1,2 @@\n+a\n+b\n",
		want: new("a\nb\n"),
	},
	{
		name:   "a new file that is there",
		before: tree{"root/work/f": "x\n"},
		diff:   "--- /dev/null\n+++ b/f\n@@ -0,0 +1,1 @@\n+a\n",
		want:   new("x\n"),
		err:    "it is there already",
	},
	{
		name:   "a deleted file",
		before: tree{"root/work/f": "a\nb\n"},
		diff:   "--- a/f\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n",
	},
	{
		name:   "a deleted file that has more",
		before: tree{"root/work/f": "a\nb\nc\n"},
		diff:   "--- a/f\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n",
		want:   new("a\nb\nc\n"),
		err:    "does not apply",
	},
	{
		name:   "a deleted file without its content",
		before: tree{"root/work/f": "a\n"},
		diff:   "diff --git a/f b/f\ndeleted file mode 100644\n",
		want:   new("a\n"),
		err:    "does not contain its lines",
	},
	{name: "a missing file", diff: header + "@@ -1 +1 @@\n-a\n+b\n", err: "the file to patch does not exist"},
	{name: "two files", diff: header + "@@ -1 +1 @@\n-a\n+b\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-a\n+b\n", err: "changes 2 files"},
	{name: "no diff", diff: "hello\n", err: "not a unified diff"},
	{name: "empty", diff: "", err: "not a unified diff"},
	{name: "no file header", diff: "@@ -1 +1 @@\n-a\n+b\n", err: "not a unified diff"},
	{name: "a rename", diff: "diff --git a/f b/g\nsimilarity index 100%\nrename from f\nrename to g\n", err: "renames or copies"},
	{name: "binary", diff: "diff --git a/f b/f\nindex 123..456 100644\nBinary files a/f and b/f differ\n", err: "does not exist"},
}

func TestPatch(t *testing.T) {
	for _, test := range patchCases {
		t.Run(test.name, func(t *testing.T) {
			dir := test.before.make(t)
			want := read(t, dir)
			delete(want, "root/work/f")
			if test.want != nil {
				want["root/work/f"] = *test.want
			}
			_, err := openRoot(t, dir).Patch("/work/f", test.diff, nil)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(want, read(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchTakesTheModeOfTheDiff(t *testing.T) {
	dir := tree{"root/work/f": "a\n"}.make(t)
	root := openRoot(t, dir)
	if _, err := root.Patch("/work/f", "diff --git a/f b/f\nold mode 100644\nnew mode 100755\n", nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "root/work/f"))
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
