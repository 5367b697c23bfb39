package file

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"arl.io/arl/pkg/agent/file/diff"
)

// fuzzTree returns a tree by its number, with links that lead out of it.
func fuzzTree(seed uint64) snapshot {
	tree := randomTree(rand.New(rand.NewPCG(seed, 7)), false)
	tree["out"], tree["up"] = "-> ../../outside", "-> .."
	return tree
}

// FuzzPatchTree applies diffs of several files, with renames, copies, modes, links and binary data, to
// the tree that they were made for; fuzzing changes both. A patch that fails changes nothing, and says
// which file or line is wrong. None changes anything outside, or makes a file larger than the bound.
func FuzzPatchTree(f *testing.F) {
	if _, err := exec.LookPath("git"); err != nil {
		f.Skipf("git makes the first diffs, and is not installed: %v", err)
	}
	for seed := range uint64(24) {
		before := randomTree(rand.New(rand.NewPCG(seed, 7)), false)
		f.Add(seed, makeDiff(f, before, changeTree(rand.New(rand.NewPCG(seed, 8)), before), 3))
	}
	f.Add(uint64(1), "diff --git a/f b/out/f\nrename from f\nrename to out/f\n")
	f.Add(uint64(1), "diff --git a/f b/dir/new\ncopy from f\ncopy to dir/new\ndiff --git a/f b/f\ndeleted file mode 100644\n")
	f.Fuzz(func(t *testing.T, seed uint64, patch string) {
		if len(patch) > 1<<16 {
			t.Skip("too large to be quick")
		}
		before := snapshot{"outside/f": "- 1\n", "root/f": "- 1\n"}
		for name, text := range fuzzTree(seed) {
			before["root/work/"+name] = text
		}
		checkPatch(t, before, patch)
	})
}

// checkPatch applies a patch to root/work of a tree and checks what holds for every patch, and that an
// error names a file.
func checkPatch(t *testing.T, before snapshot, patch string) {
	t.Helper()
	if err := checkEffects(t, before, patch); err != nil && !strings.Contains(err.Error(), "/work") {
		t.Fatalf("the error names no file: %v", err)
	}
}

// checkEffects applies a patch to root/work of a tree and checks what it changed. It returns why the
// patch failed, if it did.
func checkEffects(t *testing.T, before snapshot, patch string) error {
	t.Helper()
	dir := before.write(t)
	root, err := OpenRoot(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_, err = root.Patch("/work", patch, nil)
	after := takeSnapshot(t, dir)
	if err != nil {
		if diff := before.diff(after); diff != "" {
			t.Fatalf("it failed with %v, and changed:\n%s", err, diff)
		}
		return err
	}
	for name, text := range before {
		if !strings.HasPrefix(name, "root/work/") && after[name] != text {
			t.Fatalf("%s is %q", name, after[name])
		}
	}
	total := 0
	for name, text := range after {
		total += len(text)
		if _, known := before[name]; !known && !strings.HasPrefix(name, "root/work/") {
			t.Fatalf("%s was made", name)
		}
	}
	if total > MaxPatchedBytes {
		t.Fatalf("the files have %d bytes", total)
	}
	err = filepath.WalkDir(filepath.Join(dir, "root", "work"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 {
			err = fmt.Errorf("%s is %v", path, entry.Type())
		}
		if info, statErr := os.Lstat(path); err == nil && statErr == nil && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			err = fmt.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nil
}

// FuzzBinaryPatch applies binary data, as literals and as deltas, that are encoded as git does it, so
// that fuzzing gets beyond the encoding.
func FuzzBinaryPatch(f *testing.F) {
	copyAll := []byte{4, 4, 0x90, 4}
	for _, data := range [][]byte{nil, []byte("new\x00"), copyAll, {4, 7, 0x90, 4, 3, 'a', 'b', 'c'}, {4, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x80},
		{4, 4, 0}, {4, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}} {
		for _, kind := range []byte{'l', 'd', 'c'} {
			f.Add([]byte("\x00old"), data, kind, uint64(len(data)), "")
		}
	}
	f.Add([]byte("\x00old"), copyAll, byte('d'), uint64(1)<<40, "")
	f.Add([]byte("\x00old"), copyAll, byte('d'), uint64(len(copyAll)), "literal 0\nHcmV?d00001\n\n")
	f.Add([]byte("\x00old"), make([]byte, 1<<16), byte('l'), uint64(9), "")
	f.Fuzz(func(t *testing.T, content, data []byte, kind byte, size uint64, rest string) {
		if len(content)+len(data)+len(rest) > 1<<17 {
			t.Skip("too large to be quick")
		}
		header, method := "diff --git a/f b/f\nindex 0000000..0000001 100644\n", "literal"
		switch kind {
		case 'd':
			method = "delta"
		case 'c':
			header = "diff --git a/f b/f\nnew file mode 100644\n"
		}
		patch := header + fmt.Sprintf("GIT binary patch\n%s %d\n%s\n%s", method, size, encoded(data), rest)
		before := snapshot{"outside/f": "- 1\n", "root/f": "- 1\n", "root/work/other": "- 1\n"}
		if kind != 'c' {
			before["root/work/f"] = "- " + string(content)
		}
		checkPatch(t, before, patch)
		files, err := diff.Parse(patch)
		if err != nil {
			return
		}
		const small = 1 << 12
		for _, each := range files {
			if result, err := each.Apply(bytes.Clone(content), small); err == nil && len(result.Content) > small && len(content) <= small {
				t.Fatalf("%d bytes, of at most %d", len(result.Content), small)
			}
		}
	})
}

const base85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"

// encoded is data as it stands in a binary patch: deflated, in lines of base 85.
func encoded(data []byte) string {
	var deflated bytes.Buffer
	w := zlib.NewWriter(&deflated)
	if _, err := w.Write(data); errors.Join(err, w.Close()) != nil {
		return ""
	}
	var text strings.Builder
	for rest := deflated.Bytes(); len(rest) > 0; {
		line := rest[:min(52, len(rest))]
		rest = rest[len(line):]
		if len(line) <= 26 {
			text.WriteByte(byte('A' + len(line) - 1))
		} else {
			text.WriteByte(byte('a' + len(line) - 27))
		}
		for len(line) > 0 {
			var word [4]byte
			line = line[copy(word[:], line):]
			value := uint32(word[0])<<24 | uint32(word[1])<<16 | uint32(word[2])<<8 | uint32(word[3])
			var digits [5]byte
			for i := range digits {
				digits[4-i] = base85[value%85]
				value /= 85
			}
			text.Write(digits[:])
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// The encoding is git's: what git makes of a file is applied to the same.
func TestEncodedBinaryDataApply(t *testing.T) {
	for _, size := range []int{0, 1, 3, 51, 52, 53, 1000} {
		data := bytes.Repeat([]byte{0, 1, 2}, size)
		before := snapshot{"root/f": "- 1\n", "root/work/f": "- old"}
		dir := before.write(t)
		root := openRoot(t, dir)
		patch := fmt.Sprintf("diff --git a/f b/f\nindex 0000000..0000000 100644\nGIT binary patch\nliteral %d\n%s\n", len(data), encoded(data))
		if _, err := root.Patch("/work", patch, nil); err != nil {
			t.Fatal(err)
		}
		if got := takeSnapshot(t, dir)["root/work/f"]; got != "- "+string(data) {
			t.Errorf("%d bytes, want %d", len(got)-2, len(data))
		}
	}
}
