package file

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

// maxQuoted bounds what a message quotes of a line.
const maxQuoted = 120

// parsePatch reads a diff that speaks of one file.
func parsePatch(diff string) (*gitdiff.File, error) {
	if !strings.HasSuffix(diff, "\n") {
		// The last line break is easily lost on the way here, and never means anything.
		diff += "\n"
	}
	files, _, err := gitdiff.Parse(strings.NewReader(diff))
	if err != nil {
		return nil, fmt.Errorf("the patch is not a unified diff: %w", err)
	}
	switch {
	case len(files) == 0:
		return nil, errors.New("the patch is not a unified diff: it has no file header (--- a/FILE, +++ b/FILE)")
	case len(files) > 1:
		return nil, fmt.Errorf("the patch speaks of %d files; it must speak of one", len(files))
	}
	parsed := files[0]
	switch {
	case parsed.IsRename || parsed.IsCopy:
		return nil, errors.New("the patch renames or copies a file, which is not supported")
	case parsed.IsBinary:
		return nil, errors.New("the patch is binary, which is not supported")
	case len(parsed.TextFragments) == 0 && !parsed.IsNew && !parsed.IsDelete && parsed.NewMode == 0:
		return nil, errors.New("the patch has no hunks")
	}
	return parsed, nil
}

// applyPatch returns the content after the patch. Hunks must fit at the very lines they name.
func applyPatch(before []byte, parsed *gitdiff.File) ([]byte, error) {
	var after bytes.Buffer
	err := gitdiff.Apply(&after, bytes.NewReader(before), parsed)
	if err == nil && parsed.IsDelete && after.Len() > 0 {
		return nil, errors.New("the patch deletes the file, but does not speak of all its content")
	}
	if err == nil {
		return after.Bytes(), nil
	}
	var failed *gitdiff.ApplyError
	if !errors.As(err, &failed) || failed.Fragment < 1 || failed.Fragment > len(parsed.TextFragments) {
		return nil, fmt.Errorf("the patch does not apply: %w", err)
	}
	return nil, mismatch(before, parsed, failed)
}

// mismatch words the failure of a hunk.
func mismatch(before []byte, parsed *gitdiff.File, failed *gitdiff.ApplyError) error {
	// Apply goes by position, and counts hunks in that order.
	hunks := append([]*gitdiff.TextFragment(nil), parsed.TextFragments...)
	sort.Slice(hunks, func(i, j int) bool { return hunks[i].OldPosition < hunks[j].OldPosition })
	hunk := hunks[failed.Fragment-1]
	where := fmt.Sprintf("hunk %d of %d (%s) does not apply", failed.Fragment, len(hunks), hunk.Header())
	lines := bytes.SplitAfter(before, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	if failed.FragmentLine > 0 && failed.FragmentLine <= len(hunk.Lines) && failed.Line >= 1 && failed.Line <= int64(len(lines)) {
		return fmt.Errorf("%s: line %d: expected %s, found %s",
			where, failed.Line, quote(hunk.Lines[failed.FragmentLine-1].Line), quote(string(lines[failed.Line-1])))
	}
	if end := hunk.OldPosition + hunk.OldLines - 1; end > int64(len(lines)) {
		return fmt.Errorf("%s: it needs lines %d to %d, and the file has %d", where, hunk.OldPosition, end, len(lines))
	}
	return fmt.Errorf("%s: %w", where, failed)
}

// quote shows a line, shortened; a missing line break at its end is part of it.
func quote(line string) string {
	text, whole := strings.CutSuffix(line, "\n")
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "..."
	}
	if whole {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q without a line break", text)
}
