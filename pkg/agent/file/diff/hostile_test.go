package diff

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const limit = 32 << 20

// Diffs of 1 MiB that are made to be slow against files of millions of equal lines. They end by a bound on the work, which
// does not depend on the machine; how long it takes is not asserted.
func TestSlowDiffsEnd(t *testing.T) {
	same := bytes.Repeat([]byte("x\n"), limit/8)
	manyHunks := strings.Builder{}
	for manyHunks.Len() < 1<<20 {
		manyHunks.WriteString("@@ -9000000,5 +9000000,5 @@\n x\n x\n x\n-x\n+y\n z\n")
	}
	fitting := strings.Builder{}
	for fitting.Len() < 1<<20 {
		fitting.WriteString("@@ -5,3 +5,3 @@\n x\n-x\n+y\n x\n")
	}
	for _, test := range []struct {
		name   string
		before []byte
		hunks  string
		err    error
	}{
		{name: "one long hunk that fits nowhere, against equal lines", before: append(same[:len(same)-2:len(same)-2], "z\n"...),
			hunks: "@@ -1,9 +1,9 @@\n" + strings.Repeat(" x\n", 1<<18) + "-y\n+w\n z\n"},
		{name: "one long hunk whose last line fits nowhere", before: append(same[:len(same)-4:len(same)-4], "z\ny\n"...),
			hunks: "@@ -1,9 +1,9 @@\n" + strings.Repeat(" x\n", 1<<18) + "-y\n+w\n z\n"},
		{name: "many hunks with line ends that differ", before: same, hunks: strings.ReplaceAll(manyHunks.String(), " z\n", " x\r\n"), err: errTooManySteps},
		{name: "many hunks at the same place", before: same, hunks: fitting.String(), err: errTooManySteps},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, err := Parse("--- a/f\n+++ b/f\n" + test.hunks)
			if err != nil {
				t.Fatal(err)
			}
			_, err = files[0].Apply(test.before, limit)
			if err == nil || test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
		})
	}
}

// A diff of many hunks in order, each of them moved, stays below the bound.
func TestManyHunksApply(t *testing.T) {
	var before, want, diff strings.Builder
	diff.WriteString("--- a/f\n+++ b/f\n")
	before.WriteString("first\n")
	want.WriteString("first\n")
	for i := 0; diff.Len() < 1<<20-100; i++ {
		fmt.Fprintf(&before, "a %d\nold\nz\n", i)
		fmt.Fprintf(&want, "a %d\nnew\nz\n", i)
		fmt.Fprintf(&diff, "@@ -%[1]d,3 +%[1]d,3 @@\n a %[2]d\n-old\n+new\n z\n", 3*i+1, i)
	}
	files, err := Parse(diff.String())
	if err != nil {
		t.Fatal(err)
	}
	result, err := files[0].Apply([]byte(before.String()), limit)
	if err != nil || string(result.Content) != want.String() || len(result.Notes) != len(files[0].Hunks) {
		t.Errorf("%d notes of %d hunks, %v", len(result.Notes), len(files[0].Hunks), err)
	}
}

// Diffs whose reading could take quadratic time.
func TestLargeDiffsAreRead(t *testing.T) {
	for name, text := range map[string]string{
		"blank lines":          "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n" + strings.Repeat("\n", 1<<20),
		"counts that lie":      "--- a/f\n+++ b/f\n" + strings.Repeat("@@ -1,999999999 +1,999999999 @@\n-a\n+b\n", 20000),
		"names with spaces":    "diff --git " + strings.Repeat("a ", 1<<19) + "\n",
		"headers":              strings.Repeat("--- a\n+++ b\n", 1<<16),
		"carriage returns":     "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n" + strings.Repeat("\r\n", 1<<19),
		"markers":              "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n" + strings.Repeat("\\\n", 1<<19),
		"more files than may":  strings.Repeat("diff --git a/f b/f\nold mode 100644\nnew mode 100755\n", MaxFiles+1),
		"a number that is big": "--- a/f\n+++ b/f\n@@ -1 +99999999999999999999 @@\n-a\n+b\n",
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Parse(text)
			t.Logf("%d files, %v", len(files), err)
			if len(files) > MaxFiles {
				t.Errorf("%d files", len(files))
			}
		})
	}
}

// A binary change that is small in the diff and large when unpacked is refused.
func TestBinaryBombIsRefused(t *testing.T) {
	// What git makes of a file of a gigabyte says so; the data need not be true.
	text := "diff --git a/f b/f\nnew file mode 100644\nindex 0000000..1234567\nGIT binary patch\n" +
		fmt.Sprintf("literal %d\nHcmV?d00001\n\n", 1<<30)
	files, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files[0].Apply(nil, limit); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("error %v", err)
	}
}
