package diff

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

// isBinaryMarker says whether a line stands where hunks would.
func isBinaryMarker(line string) bool {
	line = strings.TrimRight(line, "\r\n")
	return line == "GIT binary patch" || strings.HasSuffix(line, " differ") &&
		(strings.HasPrefix(line, "Binary files ") || strings.HasPrefix(line, "Files "))
}

// binary reads the data of a binary file.
func (p *parser) binary(f *File) error {
	f.IsBinary = true
	begin := p.at
	p.at++
	if strings.TrimRight(p.lines[begin], "\r\n") != "GIT binary patch" {
		return nil
	}
	var section strings.Builder
	section.WriteString("diff --git a/f b/f\nGIT binary patch\n")
	for ; p.at < len(p.lines); p.at++ {
		line := strings.TrimRight(p.lines[p.at], "\r\n")
		if strings.HasPrefix(line, "diff ") || line == "-- " || p.plainHeaderAt(p.at) {
			break
		}
		section.WriteString(line + "\n")
	}
	// Data ends with an empty line, which may be lost at the end of the diff.
	section.WriteString("\n")
	files, _, err := gitdiff.Parse(strings.NewReader(section.String()))
	if err == nil && (len(files) != 1 || files[0].BinaryFragment == nil) {
		err = errors.New("no data")
	}
	if err != nil {
		return p.errorf(begin, "the binary data of %s: %w", f.New, err)
	}
	f.Binary = files[0].BinaryFragment
	return nil
}

// applyBinary returns the content after a binary change.
func applyBinary(before []byte, f *File, limit int) ([]byte, error) {
	if f.Binary == nil {
		return nil, errors.New("the file is binary and the diff does not have its data; make it with git diff --binary")
	}
	if f.Change != Create && !isObject(f.OldID, before) {
		return nil, fmt.Errorf("the file is binary and not the one that was changed: git's name of the content is not %s", f.OldID)
	}
	if f.Binary.Size > int64(limit) {
		return nil, fmt.Errorf("its binary data have %d bytes; at most %d", f.Binary.Size, limit)
	}
	var after bytes.Buffer
	applier := gitdiff.NewBinaryApplier(&after, bytes.NewReader(before), gitdiff.WithMaxBinaryFragmentBytes(int64(limit)))
	if err := applier.ApplyFragment(f.Binary); err != nil {
		return nil, fmt.Errorf("its binary data do not apply: %w", err)
	}
	if f.Change != Delete && !isObject(f.NewID, after.Bytes()) {
		return nil, fmt.Errorf("its binary data are damaged: git's name of the result is not %s", f.NewID)
	}
	return after.Bytes(), nil
}

// isObject says whether git's name of the content begins with id. It says yes if id is not a name.
func isObject(id string, content []byte) bool {
	if _, err := hex.DecodeString(id[:len(id)&^1]); err != nil || len(id) < 7 || strings.Trim(id, "0") == "" {
		return true
	}
	var sum hash.Hash = sha1.New()
	if len(id) > hex.EncodedLen(sha1.Size) {
		sum = sha256.New()
	}
	fmt.Fprintf(sum, "blob %d\x00", len(content))
	sum.Write(content)
	return strings.HasPrefix(hex.EncodeToString(sum.Sum(nil)), strings.ToLower(id))
}
