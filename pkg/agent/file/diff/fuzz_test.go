package diff

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzApply applies any text to any content. Whatever comes of it, nothing panics, sizes stay below the
// limit, and a hunk that was applied is found in the result.
func FuzzApply(f *testing.F) {
	names, err := filepath.Glob("../testdata/patches/*.txt")
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "␍", "\r")
		_, rest, _ := strings.Cut(text, "\n=== ")
		_, rest, _ = strings.Cut(rest, "\n")
		content, rest, _ := strings.Cut(rest, "=== PATCH\n")
		patch, _, _ := strings.Cut(rest, "=== AFTER")
		f.Add([]byte(content), patch)
	}
	f.Add([]byte(nil), "diff --git a/f b/f\nnew file mode 100644\nGIT binary patch\nliteral 3\nKcmZQzWMXCj0R#XB\n\n")
	f.Fuzz(func(t *testing.T, content []byte, patch string) {
		const small = 1 << 20
		if len(content) > small || len(patch) > small {
			t.Skip("too large to be quick")
		}
		files, err := Parse(patch)
		if err != nil {
			return
		}
		if len(files) == 0 || len(files) > MaxFiles {
			t.Fatalf("%d files", len(files))
		}
		for _, file := range files {
			result, err := file.Apply(bytes.Clone(content), small)
			if err != nil {
				continue
			}
			if len(result.Content) > small {
				t.Fatalf("%d bytes", len(result.Content))
			}
			check(t, file, content, result.Content)
		}
	})
}

// check compares the numbers of lines, and that added lines are there.
func check(t *testing.T, file *File, before, after []byte) {
	if file.IsBinary || len(file.Hunks) == 0 {
		return
	}
	change := 0
	for _, hunk := range file.Hunks {
		if hunk.loose > 0 {
			return
		}
		old, made := hunk.counts()
		change += made - old
		for _, line := range hunk.Lines {
			if line.Text == "" {
				// An empty line without a line break is none.
				return
			}
			body, _ := cutLineEnd([]byte(line.Text))
			if line.Op == '+' && !bytes.Contains(after, body) {
				t.Fatalf("%q was not added", body)
			}
		}
	}
	lines := func(content []byte) int { return newText(content, nil).count() }
	if got := lines(after) - lines(before); got != change && bytes.HasSuffix(before, []byte("\n")) && bytes.HasSuffix(after, []byte("\n")) {
		t.Fatalf("%d lines more, want %d", got, change)
	}
}
