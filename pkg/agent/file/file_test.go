package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree is a directory with a root in it and something beside that root. Values
// that begin with "-> " are symbolic links; names that end with "/" are directories.
type tree map[string]string

// make writes a tree and returns its directory; the root is "root" in it.
func (tr tree) make(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"root/work", "outside"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range tr {
		full := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = errors.Join(err, os.Symlink(target, full))
		} else if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(full, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(full, []byte(text), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read returns what is in a directory, in the form of a tree.
func read(t *testing.T, dir string) tree {
	t.Helper()
	found := tree{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch {
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			found[name] = "-> " + target
			return err
		case entry.Type().IsRegular():
			data, err := os.ReadFile(path)
			found[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func openRoot(t *testing.T, dir string) *Root {
	t.Helper()
	root, err := OpenRoot(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestWrite(t *testing.T) {
	for _, test := range []struct {
		name, path string
		before     tree
		// want is what is added or changed; empty if the write must fail and change nothing.
		want tree
		err  string
	}{
		{name: "a new file", path: "/work/a", want: tree{"root/work/a": "new"}},
		{name: "missing directories", path: "/work/b/c/d", want: tree{"root/work/b/c/d": "new"}},
		{name: "an existing file", path: "/work/a", before: tree{"root/work/a": "old"}, want: tree{"root/work/a": "new"}},
		{name: "dots within the root", path: "/work/../work/./b/../a", want: tree{"root/work/a": "new"}},
		{name: "above the root", path: "/work/../../outside/a", err: "leads out of"},
		{name: "far above the root", path: "/work/../../../../../../../../tmp/a", err: "leads out of"},
		{name: "above the root and back", path: "/work/../../root/work/a", err: "leads out of"},
		{name: "a relative link above the root", path: "/work/l/a", before: tree{"root/work/l": "-> ../../outside"}, err: "leads out of"},
		{name: "a link of links above the root", path: "/work/l/a", before: tree{"root/work/l": "-> m", "root/work/m": "-> ../../outside"}, err: "leads out of"},
		{name: "a file link above the root", path: "/work/l", before: tree{"root/work/l": "-> ../../outside/a", "outside/a": "old"}, err: "leads out of"},
		{name: "an absolute link starts at the root", path: "/work/l/a", before: tree{"root/work/l": "-> /data", "root/data/": ""}, want: tree{"root/data/a": "new"}},
		{name: "an absolute link to what is only outside", path: "/work/l", before: tree{"root/work/l": "-> /outside/a", "outside/a": "old"}, want: tree{"root/outside/a": "new"}},
		{name: "a link within the root is kept", path: "/work/l", before: tree{"root/work/l": "-> ../data/a", "root/data/a": "old"}, want: tree{"root/data/a": "new"}},
		{name: "a link to nothing makes its target", path: "/work/l", before: tree{"root/work/l": "-> b/a"}, want: tree{"root/work/b/a": "new"}},
		{name: "links in a circle", path: "/work/l/a", before: tree{"root/work/l": "-> m", "root/work/m": "-> l"}, err: "too many levels of symbolic links"},
		{name: "a directory", path: "/work", err: "is a directory"},
		{name: "a path that means a directory", path: "/work/a/", err: "is a directory"},
		{name: "the root", path: "/", err: "is a directory"},
		{name: "below a file", path: "/work/a/b", before: tree{"root/work/a": "old"}, err: "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := test.before.make(t)
			want := read(t, dir)
			for name, text := range test.want {
				want[name] = text
			}
			err := openRoot(t, dir).Write(test.path, []byte("new"), nil)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(want, read(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEscapesIsASentinel(t *testing.T) {
	root := openRoot(t, tree{}.make(t))
	if _, err := root.MakeDir("/../a"); !errors.Is(err, ErrEscapes) {
		t.Errorf("MakeDir: %v", err)
	}
	if err := root.Write("/../a", nil, nil); !errors.Is(err, ErrEscapes) {
		t.Errorf("Write: %v", err)
	}
}

func TestSpecialFilesAreLeftAlone(t *testing.T) {
	dir := tree{}.make(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "root/work/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := openRoot(t, dir).Write("/work/fifo", []byte("x"), nil)
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestModeAndOwner(t *testing.T) {
	mode := func(m fs.FileMode) *fs.FileMode { return &m }
	for _, test := range []struct {
		name       string
		before     *fs.FileMode
		mode, want *fs.FileMode
	}{
		{"new", nil, nil, mode(0o644)},
		{"new with a mode", nil, mode(0o700), mode(0o700)},
		{"kept", mode(0o751), nil, mode(0o751)},
		{"kept with its special bits", mode(0o755 | fs.ModeSetuid), nil, mode(0o755 | fs.ModeSetuid)},
		{"changed", mode(0o600), mode(0o666), mode(0o666)},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := tree{}.make(t)
			file := filepath.Join(dir, "root/work/a")
			uid := os.Geteuid()
			if test.before != nil {
				err := os.WriteFile(file, []byte("old"), 0o600)
				if uid == 0 {
					// Only root can give files away.
					uid = 12345
					err = errors.Join(err, os.Chown(file, uid, uid))
				}
				if err := errors.Join(err, os.Chmod(file, *test.before)); err != nil {
					t.Fatal(err)
				}
			}
			if err := openRoot(t, dir).Write("/work/a", []byte("new"), test.mode); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(file)
			if err != nil || info.Mode() != *test.want {
				t.Errorf("mode %v, want %v, %v", info.Mode(), *test.want, err)
			}
			if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != uid {
				t.Errorf("owner %d, want %d", owner, uid)
			}
		})
	}
}

func TestMakeDir(t *testing.T) {
	dir := tree{"root/file": "x", "root/link": "-> /data"}.make(t)
	root := openRoot(t, dir)
	for _, test := range []struct{ path, want, err string }{
		{path: "/work", want: "root/work"},
		{path: "/a/b", want: "root/a/b"},
		{path: "/link/c", want: "root/data/c"},
		{path: "/", want: "root"},
		{path: "/file", err: "not a directory"},
		{path: "/file/a", err: "not a directory"},
		{path: "/..", err: "leads out of"},
	} {
		got, err := root.MakeDir(test.path)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want %q", test.path, err, test.err)
			}
			continue
		}
		if want := filepath.Join(dir, test.want); err != nil || got != want {
			t.Errorf("%s: got %s, want %s, %v", test.path, got, want, err)
		}
		if info, err := os.Stat(got); err != nil || !info.IsDir() {
			t.Errorf("%s was not made: %v", test.path, err)
		}
	}
}

// swapLink replaces a directory by a link to ../../outside and back, again and again, until stop is
// called, which returns when it has ended.
func swapLink(path string) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
			}
			// If one of these fails, the next turn restores the order.
			_ = os.Rename(path, path+"-real")
			_ = os.Symlink("../../outside", path)
			_ = os.Remove(path)
			_ = os.Rename(path+"-real", path)
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// A link that is swapped in again and again never lets a write out.
func TestWriteAgainstASwappedLink(t *testing.T) {
	dir := tree{"root/work/d/": ""}.make(t)
	root := openRoot(t, dir)
	path := filepath.Join(dir, "root/work/d")
	stop := swapLink(path)
	for range 2000 {
		// It may fail; it may not write outside.
		_ = root.Write("/work/d/a", []byte("new"), nil)
	}
	stop()
	entries, err := os.ReadDir(filepath.Join(dir, "outside"))
	if err != nil || len(entries) != 0 {
		t.Errorf("written outside: %v, %v", entries, err)
	}
}
