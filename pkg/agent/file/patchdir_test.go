package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// modify, create and deleted are parts of a git diff.
func modify(name, from, to string) string {
	return fmt.Sprintf("diff --git a/%[1]s b/%[1]s\n--- a/%[1]s\n+++ b/%[1]s\n@@ -1 +1 @@\n-%s\n+%s\n", name, from, to)
}

func created(name, line string) string {
	return fmt.Sprintf("diff --git a/%[1]s b/%[1]s\nnew file mode 100644\n--- /dev/null\n+++ b/%[1]s\n@@ -0,0 +1 @@\n+%s\n", name, line)
}

func deleted(name, line string) string {
	return fmt.Sprintf("diff --git a/%[1]s b/%[1]s\ndeleted file mode 100644\n--- a/%[1]s\n+++ /dev/null\n@@ -1 +0,0 @@\n-%s\n", name, line)
}

func symlink(name, target string) string {
	return fmt.Sprintf("diff --git a/%[1]s b/%[1]s\nnew file mode 120000\n--- /dev/null\n+++ b/%[1]s\n@@ -0,0 +1 @@\n+%s\n\\ No newline at end of file\n", name, target)
}

func TestPatchOfADirectory(t *testing.T) {
	mode := fs.FileMode(0o600)
	for _, test := range []struct {
		name, path, diff string
		before           tree
		mode             *fs.FileMode
		// want is what is added or changed, "" for what goes.
		want    tree
		message string
		err     string
	}{
		{name: "the directory by name", path: "/work", before: tree{"root/work/f": "a\n"}, diff: modify("f", "a", "b"), want: tree{"root/work/f": "b\n"}},
		{name: "by a slash", path: "/work/", before: tree{"root/work/f": "a\n"}, diff: modify("f", "a", "b"), want: tree{"root/work/f": "b\n"}},
		{name: "by a dot", path: "/work/.", before: tree{"root/work/f": "a\n"}, diff: modify("f", "a", "b"), want: tree{"root/work/f": "b\n"}},
		{name: "the root", path: "/", before: tree{"root/f": "a\n"}, diff: modify("f", "a", "b"), want: tree{"root/f": "b\n"}},
		{name: "through a link", path: "/l", before: tree{"root/l": "-> work", "root/work/f": "a\n"}, diff: modify("f", "a", "b"), want: tree{"root/work/f": "b\n"}},
		{name: "a missing directory with a slash", path: "/work/new/repo/", diff: created("f", "a"), want: tree{"root/work/new/repo/f": "a\n"}},
		{name: "a missing directory and a diff that fails", path: "/work/new/repo/", diff: modify("f", "a", "b"), err: "new/repo/f: the file to patch does not exist"},
		{name: "two files and no directory", path: "/work/new", diff: created("f", "a") + created("g", "a"), err: "the patch changes 2 files, and there is no directory of this name"},
		{name: "a rename and no directory", path: "/work/f", before: tree{"root/work/f": "a\n"}, diff: "diff --git a/f b/g\nrename from f\nrename to g\n", err: "the patch renames or copies a file"},
		{name: "a mode", path: "/work", mode: &mode, diff: created("f", "a"), err: "a mode can be set only for a single file"},
		{name: "above the root", path: "/../", diff: created("f", "a"), err: "leads out of the container's root"},
		{name: "a name above the directory", path: "/work", before: tree{"root/f": "a\n"}, diff: modify("../f", "a", "b"), err: "leads out of the directory"},
		{name: "a link out of the directory", path: "/work", before: tree{"root/work/l": "-> ../other", "root/other/f": "a\n"}, diff: modify("l/f", "a", "b"), err: "leads out of the directory"},
		{name: "a link out of the root", path: "/work", before: tree{"root/work/l": "-> ../../outside", "outside/f": "a\n"}, diff: modify("l/f", "a", "b"), err: "leads out of the container's root"},
		{name: "a file that is a link out of the root", path: "/work", before: tree{"root/work/l": "-> ../../outside/f", "outside/f": "a\n"}, diff: modify("l", "a", "b"), err: "leads out of the container's root"},
		{name: "a new file in a link out of the root", path: "/work", before: tree{"root/work/l": "-> ../../outside"}, diff: created("l/new", "a"), err: "leads out of the container's root"},
		{name: "a link that stays inside", path: "/work", before: tree{"root/work/l": "-> real", "root/work/real/f": "a\n"}, diff: modify("l/f", "a", "b"), want: tree{"root/work/real/f": "b\n"}},
		{name: "a file that is a link", path: "/work", before: tree{"root/work/l": "-> f", "root/work/f": "a\n"}, diff: modify("l", "a", "b"), want: tree{"root/work/f": "b\n"}},
		{name: "two names of one file", path: "/work", before: tree{"root/work/l": "-> f", "root/work/f": "a\n"}, diff: modify("l", "a", "b") + modify("f", "b", "c"), want: tree{"root/work/f": "c\n"}},
		{name: "a deleted link", path: "/work", before: tree{"root/work/l": "-> f", "root/work/f": "a\n"}, diff: deleted("l", "a"), err: "is a symbolic link, and the patch is for a file"},
		{name: "a new link", path: "/work", diff: symlink("d/l", "../f"), want: tree{"root/work/d/l": "-> ../f"}},
		{name: "a new link that is absolute", path: "/work", diff: symlink("l", "/etc/passwd"), want: tree{"root/work/l": "-> /etc/passwd"}},
		{name: "a new link out of the root", path: "/work", diff: symlink("l", "../../outside"), err: "the target of the symbolic link, ../../outside: path leads out of the container's root"},
		{name: "a new link by path", path: "/work/other", diff: symlink("l", "f"), want: tree{"root/work/other": "-> f"}},
		{name: "a special mode", path: "/work", diff: "diff --git a/p b/p\nnew file mode 010644\n", err: "mode 10644 is not that of a file or a symbolic link"},
		{name: "a directory is in the way", path: "/work", before: tree{"root/work/d/f": "a\n"}, diff: created("d", "a"), err: "is a directory"},
		{name: "a file is in the way", path: "/work", before: tree{"root/work/d": "a\n"}, diff: created("d/f", "a"), err: "not a directory"},
		{name: "emptied directories go", path: "/work", before: tree{"root/work/d/e/f": "a\n", "root/work/d/g": "a\n"}, diff: deleted("d/e/f", "a"), want: tree{"root/work/d/e/f": ""}},
		{name: "what is done is counted", path: "/work", before: tree{"root/work/f": "a\n", "root/work/g": "a\n"}, diff: modify("f", "a", "b") + deleted("g", "a") + created("h", "a"),
			want: tree{"root/work/f": "b\n", "root/work/g": "", "root/work/h": "a\n"}, message: "files changed: 1, created: 1, deleted: 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := test.before.make(t)
			want := read(t, dir)
			for name, text := range test.want {
				want[name] = text
				if text == "" {
					delete(want, name)
				}
			}
			before := directories(t, dir)
			message, err := openRoot(t, dir).Patch(test.path, test.diff, test.mode)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if !strings.Contains(message, test.message) {
				t.Errorf("message %q, want %q", message, test.message)
			}
			if diff := cmp.Diff(want, read(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if err != nil {
				if diff := cmp.Diff(before, directories(t, dir)); diff != "" {
					t.Errorf("directories (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// directories lists the directories of a tree.
func directories(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			found = append(found, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Whichever operation fails, the files, their modes and owners, and the directories are as they were.
func TestPatchThatFailsInTheMiddleChangesNothing(t *testing.T) {
	before := tree{
		"root/work/a": "a\n", "root/work/b": "b\n", "root/work/gone/deep/f": "f\n", "root/work/gone/g": "g\n",
		"root/work/l": "-> a", "root/work/old": "o\n", "root/work/becomes": "dir\n", "root/work/z": "z\n",
	}
	diff := modify("a", "a", "A") + created("new/dir/f", "n") + deleted("gone/deep/f", "f") + deleted("gone/g", "g") + created("gone", "file") +
		"diff --git a/old b/moved/old\nrename from old\nrename to moved/old\n" + "diff --git a/b b/b\nold mode 100644\nnew mode 100755\n" +
		deleted("becomes", "dir") + created("becomes/f", "f") + modify("z", "z", "Z")
	operations := 0
	for fails := 0; ; fails++ {
		dir := before.make(t)
		if os.Geteuid() == 0 {
			if err := errors.Join(os.Chown(filepath.Join(dir, "root/work/gone/deep"), 12345, 12345), os.Chmod(filepath.Join(dir, "root/work/gone/deep"), 0o751),
				os.Chown(filepath.Join(dir, "root/work/z"), 12345, 12345)); err != nil {
				t.Fatal(err)
			}
		}
		want, wantDirs, wantInfo := read(t, dir), directories(t, dir), infos(t, dir)
		root := openRoot(t, dir)
		operations = 0
		root.fault = func(operation, path string) error {
			operations++
			if operations > fails {
				return fmt.Errorf("%s %s: %w", operation, path, syscall.ENOSPC)
			}
			return nil
		}
		_, err := root.Patch("/work", diff, nil)
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("after %d operations: %v", fails, err)
		}
		if diff := cmp.Diff(want, read(t, dir)); diff != "" {
			t.Errorf("after %d operations, files (-want +got):\n%s", fails, diff)
		}
		if diff := cmp.Diff(wantDirs, directories(t, dir)); diff != "" {
			t.Errorf("after %d operations, directories (-want +got):\n%s", fails, diff)
		}
		if diff := cmp.Diff(wantInfo, infos(t, dir)); diff != "" {
			t.Errorf("after %d operations, modes and owners (-want +got):\n%s", fails, diff)
		}
	}
	// Seven are written, four go and seven are placed.
	if operations < 17 {
		t.Errorf("only %d operations could fail", operations)
	}
}

// infos returns modes and owners.
func infos(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			owner := info.Sys().(*syscall.Stat_t)
			found[strings.TrimPrefix(path, dir)] = fmt.Sprint(info.Mode(), " ", owner.Uid, " ", owner.Gid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A patch keeps mode and owner of the files it changes, renames and copies.
func TestPatchKeepsModeAndOwner(t *testing.T) {
	dir := tree{"root/work/a": "a\n", "root/work/b": "b\n"}.make(t)
	uid := os.Geteuid()
	for _, name := range []string{"a", "b"} {
		file := filepath.Join(dir, "root/work", name)
		if os.Geteuid() == 0 {
			uid = 12345
			if err := os.Chown(file, uid, uid); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(file, 0o751); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openRoot(t, dir).Patch("/work", modify("a", "a", "A")+"diff --git a/b b/c\nrename from b\nrename to c\n", nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "c"} {
		info, err := os.Stat(filepath.Join(dir, "root/work", name))
		if err != nil {
			t.Fatal(err)
		}
		if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != uid || info.Mode() != 0o751 {
			t.Errorf("%s: mode %v, owner %d", name, info.Mode(), owner)
		}
	}
}

// Links that are swapped in again and again never let a patch of a directory out.
func TestPatchOfADirectoryAgainstASwappedLink(t *testing.T) {
	dir := tree{"root/work/d/f": "a\n", "root/work/g": "a\n", "outside/f": "a\n"}.make(t)
	root := openRoot(t, dir)
	path := filepath.Join(dir, "root/work/d")
	stop := swapLink(path)
	for range 500 {
		// It may fail; it may not write outside.
		_, _ = root.Patch("/work", modify("g", "a", "b")+modify("d/f", "a", "b")+created("d/new/file", "x"), nil)
		_, _ = root.Patch("/work", modify("g", "b", "a")+modify("d/f", "b", "a")+deleted("d/new/file", "x"), nil)
	}
	stop()
	want := tree{"f": "a\n"}
	if diff := cmp.Diff(want, read(t, filepath.Join(dir, "outside"))); diff != "" {
		t.Errorf("outside (-want +got):\n%s", diff)
	}
}

// Patches of many files and large ones are refused before they take memory or file handles.
func TestPatchIsBounded(t *testing.T) {
	dir := tree{}.make(t)
	root := openRoot(t, dir)
	var many strings.Builder
	for i := range 3000 {
		many.WriteString(created(fmt.Sprintf("d%d/f%d", i%100, i), "x"))
	}
	if _, err := root.Patch("/work", many.String(), nil); err != nil {
		t.Errorf("3000 files: %v", err)
	}
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(dir, "root/work", fmt.Sprint(i)), make([]byte, MaxPatchedBytes), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var large strings.Builder
	for i := range 3 {
		fmt.Fprintf(&large, "diff --git a/%[1]d b/%[1]d\nold mode 100644\nnew mode 100755\n", i)
	}
	if _, err := root.Patch("/work", large.String(), nil); err == nil || !strings.Contains(err.Error(), "more than 67108864 bytes") {
		t.Errorf("96 MiB in three files: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, "root/work/0"), MaxPatchedBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Patch("/work/0", large.String()[:len(large.String())/3], nil); err == nil || !strings.Contains(err.Error(), "too many to patch") {
		t.Errorf("a file that is too large: %v", err)
	}
}
