package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/podruntime/local/filetree"
)

// item is an entry of a layer. Type 0 is a file with text.
type item struct {
	typ        byte
	name, text string
	mode       int64
	uid        int
}

func dir(name string, mode int64) item   { return item{typ: tar.TypeDir, name: name, mode: mode} }
func file(name, text string) item        { return item{typ: tar.TypeReg, name: name, text: text, mode: 0o644} }
func symlink(name, target string) item   { return item{typ: tar.TypeSymlink, name: name, text: target} }
func hardlink(name, target string) item  { return item{typ: tar.TypeLink, name: name, text: target} }
func special(typ byte, name string) item { return item{typ: typ, name: name, mode: 0o644} }
func moded(name, text string, mode int64) item {
	return item{typ: tar.TypeReg, name: name, text: text, mode: mode}
}

var stamp = time.Unix(1_700_000_000, 0)

func layerOf(t *testing.T, items ...item) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, i := range items {
		header := &tar.Header{Typeflag: i.typ, Name: i.name, Mode: i.mode, Uid: i.uid, Gid: i.uid, ModTime: stamp, Format: tar.FormatPAX}
		switch i.typ {
		case tar.TypeReg:
			header.Size = int64(len(i.text))
		case tar.TypeSymlink, tar.TypeLink:
			header.Linkname = i.text
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if i.typ == tar.TypeReg {
			if _, err := io.WriteString(w, i.text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func imageOf(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", platform().Architecture
	image, err = mutate.ConfigFile(image, config)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// listing describes a tree: path → type, mode and content.
func listing(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, _ := filepath.Rel(root, path)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			found[name] = "-> " + link
			return err
		case entry.IsDir():
			found[name] = fmt.Sprintf("dir %o", info.Mode().Perm())
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			found[name] = fmt.Sprintf("%v %s", info.Mode(), text)
			return err
		default:
			found[name] = info.Mode().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// rw is how listing shows the mode of an ordinary file.
const rw = "-rw-r--r-- "

var unpackTests = []struct {
	name   string
	layers [][]item
	want   map[string]string
}{
	{
		name:   "files, modes and missing parents",
		layers: [][]item{{file("a/b/c", "text"), moded("bin/su", "x", 0o4755), dir("tmp", 0o1777), dir("locked", 0o555), file("locked/in", "y")}},
		want: map[string]string{"a": "dir 755", "a/b": "dir 755", "a/b/c": rw + "text", "bin": "dir 755",
			"bin/su": "urwxr-xr-x x", "tmp": "dir 777", "locked": "dir 555", "locked/in": rw + "y"},
	},
	{
		name:   "a later layer wins",
		layers: [][]item{{file("a", "old"), file("b", "kept")}, {file("a", "new")}},
		want:   map[string]string{"a": rw + "new", "b": rw + "kept"},
	},
	{
		name:   "a file replaces a directory and the reverse",
		layers: [][]item{{file("a/x", "1"), file("b", "2")}, {file("a", "file"), dir("b", 0o755), file("b/y", "3")}},
		want:   map[string]string{"a": rw + "file", "b": "dir 755", "b/y": rw + "3"},
	},
	{
		name:   "a whiteout removes what lower layers have",
		layers: [][]item{{file("d/a", "1"), file("d/b", "2"), file("e/f", "3")}, {file("d/.wh.a", ""), file(".wh.e", "")}},
		want:   map[string]string{"d": "dir 755", "d/b": rw + "2"},
	},
	{
		name:   "a whiteout leaves what its own layer has",
		layers: [][]item{{file("d/a", "1")}, {file("d/a", "2"), file("d/.wh.a", "")}},
		want:   map[string]string{"d": "dir 755", "d/a": rw + "2"},
	},
	{
		name: "an opaque directory hides lower layers only, wherever its marker stands",
		layers: [][]item{
			{file("d/old", "1"), file("d/sub/old", "2")},
			{dir("d", 0o755), file("d/early", "3"), file("d/sub/new", "4"), file("d/.wh..wh..opq", ""), file("d/late", "5")}},
		want: map[string]string{"d": "dir 755", "d/early": rw + "3", "d/late": rw + "5", "d/sub": "dir 755", "d/sub/new": rw + "4"},
	},
	{
		name:   "hard links",
		layers: [][]item{{file("a", "text"), hardlink("d/b", "a")}, {hardlink("c", "/a")}},
		want:   map[string]string{"a": rw + "text", "d": "dir 755", "d/b": rw + "text", "c": rw + "text"},
	},
	{
		name: "entries below links to directories, also absolute ones",
		layers: [][]item{
			{dir("run", 0o755), dir("var", 0o755), symlink("var/run", "/run"), dir("usr/lib", 0o755), symlink("lib", "usr/lib")},
			{file("var/run/pid", "1"), file("lib/x", "2")}},
		want: map[string]string{"run": "dir 755", "run/pid": rw + "1", "var": "dir 755", "var/run": "-> /run",
			"usr": "dir 755", "usr/lib": "dir 755", "usr/lib/x": rw + "2", "lib": "-> usr/lib"},
	},
	{
		name:   "a directory that takes the place of a link",
		layers: [][]item{{dir("real", 0o755), symlink("d", "real")}, {dir("d", 0o755), file("d/x", "1")}},
		want:   map[string]string{"real": "dir 755", "d": "dir 755", "d/x": rw + "1"},
	},
	{
		name:   "pipes are made, devices left out",
		layers: [][]item{{special(tar.TypeFifo, "pipe"), special(tar.TypeChar, "null"), special(tar.TypeBlock, "disk")}},
		want:   map[string]string{"pipe": "prw-r--r--"},
	},
	{
		name:   "names are taken from the root of the image",
		layers: [][]item{{file("/abs", "1"), file("./dot", "2"), dir("./", 0o755)}},
		want:   map[string]string{"abs": rw + "1", "dot": rw + "2"},
	},
}

func TestUnpack(t *testing.T) {
	for _, test := range unpackTests {
		t.Run(test.name, func(t *testing.T) {
			var layers []v1.Layer
			for _, items := range test.layers {
				layers = append(layers, layerOf(t, items...))
			}
			root := filepath.Join(t.TempDir(), "rootfs")
			if err := unpack(t.Context(), imageOf(t, layers...), root, roomy()); err != nil {
				t.Fatal(err)
			}
			// os.RemoveAll does not remove a directory that nobody may write to.
			t.Cleanup(func() {
				if err := filetree.Remove(context.Background(), root); err != nil {
					t.Error(err)
				}
			})
			if diff := cmp.Diff(test.want, listing(t, root)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func roomy() unpackOptions { return unpackOptions{bounds: bounds{bytes: 1 << 20, entries: 1000}} }

func TestUnpackKeepsOwnersAndTimes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	root := filepath.Join(t.TempDir(), "rootfs")
	owned := item{typ: tar.TypeReg, name: "su", mode: 0o4755, uid: 1234}
	link := item{typ: tar.TypeSymlink, name: "link", text: "/etc/passwd", uid: 1234}
	options := roomy()
	options.keepOwners = true
	if err := unpack(t.Context(), imageOf(t, layerOf(t, owned, link)), root, options); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Lstat(filepath.Join(root, "su"), &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Uid != 1234 || stat.Gid != 1234 || stat.Mode&0o7777 != 0o4755 || stat.Mtim.Sec != stamp.Unix() {
		t.Errorf("owner %d:%d, mode %o, time %d", stat.Uid, stat.Gid, stat.Mode&0o7777, stat.Mtim.Sec)
	}
	if err := unix.Lstat(filepath.Join(root, "link"), &stat); err != nil || stat.Uid != 1234 {
		t.Errorf("the link's owner is %d, %v", stat.Uid, err)
	}
	if err := unix.Stat("/etc/passwd", &stat); err != nil || stat.Uid != 0 {
		t.Errorf("the owner of the machine's file became %d, %v", stat.Uid, err)
	}
}

func TestMaliciousLayers(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("safe"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20)
	tests := []struct {
		name   string
		layers [][]item
		// err is what unpack must return; nil if the entry is harmless once confined.
		err error
	}{
		{name: "path with ..", layers: [][]item{{file("../evil", "x")}}, err: ErrMalicious},
		{name: "path with .. in the middle", layers: [][]item{{file("a/../../evil", "x")}}, err: ErrMalicious},
		{name: "hard link with ..", layers: [][]item{{hardlink("a", up+victim)}}, err: ErrMalicious},
		{name: "hard link to an absolute path", layers: [][]item{{hardlink("a", victim)}}, err: fs.ErrNotExist},
		{name: "hard link through a link out", layers: [][]item{{symlink("out", outside), hardlink("a", "out/victim")}}, err: fs.ErrNotExist},
		{name: "file through an absolute link out", layers: [][]item{{symlink("out", outside), file("out/victim", "evil")}}},
		{name: "file through a relative link out", layers: [][]item{{symlink("out", up+outside), file("out/victim", "evil")}}},
		{name: "file through a link out of another layer", layers: [][]item{{symlink("out", outside)}, {file("out/victim", "evil")}}},
		{name: "file over a link out", layers: [][]item{{symlink("a", victim), file("a", "evil")}}},
		{name: "mode of a link out", layers: [][]item{{symlink("a", victim), dir("a", 0o777)}}},
		{name: "whiteout through a link out", layers: [][]item{{symlink("out", outside)}, {file("out/.wh.victim", "")}}},
		{name: "opaque marker through a link out", layers: [][]item{{symlink("out", outside)}, {file("out/.wh..wh..opq", "")}}},
		{name: "whiteout of the parent", layers: [][]item{{file("d/.wh...", "")}}, err: ErrMalicious},
		{name: "links in a circle", layers: [][]item{{symlink("a", "b"), symlink("b", "a"), file("a/x", "y")}}, err: ErrMalicious},
		{name: "too many files", layers: [][]item{make100(11)}, err: ErrTooLarge},
		{name: "too many bytes", layers: [][]item{{file("a", strings.Repeat("x", 600)), file("b", strings.Repeat("x", 600))}}, err: ErrTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var layers []v1.Layer
			for _, items := range test.layers {
				layers = append(layers, layerOf(t, items...))
			}
			parent := t.TempDir()
			options := unpackOptions{bounds: bounds{bytes: 8192, entries: 10}}
			if test.name == "too many bytes" {
				options.bounds.bytes = 1000
			}
			err := unpack(t.Context(), imageOf(t, layers...), filepath.Join(parent, "rootfs"), options)
			if !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != "safe" {
				t.Errorf("the file outside is now %q, %v", text, err)
			}
			if info, err := os.Stat(victim); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("the file outside has mode %v, %v", info.Mode(), err)
			}
			for _, dir := range []string{parent, outside} {
				if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
					t.Errorf("%s holds %v, %v", dir, entries, err)
				}
			}
		})
	}
}

func make100(n int) (items []item) {
	for i := range n {
		items = append(items, file(fmt.Sprint(i), ""))
	}
	return items
}

// lying is a layer whose content is not what the image says.
type lying struct{ v1.Layer }

func (lying) DiffID() (v1.Hash, error) {
	return v1.NewHash("sha256:" + strings.Repeat("0", 64))
}

func TestUnpackChecksDigests(t *testing.T) {
	image := imageOf(t, lying{layerOf(t, file("a", "x"))})
	err := unpack(t.Context(), image, filepath.Join(t.TempDir(), "rootfs"), roomy())
	if err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("got %v, want an error about the digest", err)
	}
}

// TestUnpackLeavesReserve: an image that would take the last of the disk is not unpacked.
func TestUnpackLeavesReserve(t *testing.T) {
	image := imageOf(t, layerOf(t, file("a", strings.Repeat("x", 1000))))
	options := unpackOptions{bounds: bounds{bytes: 1 << 20, entries: 2 * checkSpaceEvery}}
	left := int64(1)
	options.bounds.free = func() (int64, error) { left--; return left, nil }
	err := unpack(t.Context(), image, filepath.Join(t.TempDir(), "rootfs"), options)
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("unpack = %v, want %v", err, ErrNoSpace)
	}
}
