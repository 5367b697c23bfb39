package file

import (
	"path/filepath"
	"testing"
)

// FuzzPatch applies any text to the files of a directory, which has links that lead out of it and out
// of the root. A patch that fails changes nothing, and no patch changes what is outside the directory.
func FuzzPatch(f *testing.F) {
	names, err := filepath.Glob("testdata/patches/*.txt")
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		f.Add(readWritten(f, name).diff)
	}
	for _, target := range []string{"out/f", "up/f", "../f", "/f", "a/../../f", "dir/up/f"} {
		f.Add(modify(target, "1", "2") + created(target+"2", "x") + deleted(target, "1") + symlink(target+"3", "../../../x"))
		f.Add("diff --git a/f b/x\nrename from f\nrename to " + target + "\n")
	}
	f.Fuzz(func(t *testing.T, patch string) {
		if len(patch) > 1<<16 {
			t.Skip("too large to be quick")
		}
		before := snapshot{
			"outside/f": "- 1\n", "root/f": "- 1\n", "root/work/f": "- 1\n2\n3\n", "root/work/a": "- a\n", "root/work/dir/g": "x \n}\n",
			"root/work/out": "-> ../../outside", "root/work/up": "-> ..", "root/work/dir/up": "-> ../../../outside", "root/work/dir/l": "-> g",
		}
		// Why a patch is refused is not checked here: a text that is no patch names no file.
		_ = checkEffects(t, before, patch)
	})
}
