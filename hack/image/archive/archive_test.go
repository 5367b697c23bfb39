package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sample is an image of every kind of entry, with its sources in dir.
func sample(t *testing.T, dir string, modified time.Time) Image {
	t.Helper()
	source := filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(source, modified, modified); err != nil {
		t.Fatal(err)
	}
	return Image{
		Files: []File{
			{Path: "/usr/bin/program", Source: source, Mode: 0o755},
			{Path: "/data", Mode: fs.ModeDir | 0o700, UID: 7, GID: 8},
			{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
			{Path: "/bin", Mode: fs.ModeSymlink | 0o777, Link: "usr/bin"},
			{Path: "/etc/name", Content: []byte("sample"), Mode: 0o644},
		},
		Architecture: "amd64", Created: created, User: "7:8", Entrypoint: []string{"/usr/bin/program"},
		Env: []string{"A=b"}, WorkingDir: "/data", ExposedPorts: []string{"80/tcp"}, Labels: map[string]string{"l": "m"},
	}
}

func written(t *testing.T, spec Image, tags ...string) []byte {
	t.Helper()
	image, err := Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Write(&out, image, tags); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestTwoBuildsAreTheSameBytes(t *testing.T) {
	first := sample(t, t.TempDir(), created.Add(time.Hour))
	second := sample(t, t.TempDir(), created.Add(2*time.Hour))
	second.Files[0], second.Files[4] = second.Files[4], second.Files[0]

	a := written(t, first, "example.com/a:1", "example.com/b:2")
	b := written(t, second, "example.com/b:2", "example.com/a:1", "example.com/a:1")
	if !bytes.Equal(a, b) {
		t.Error("folder, time and order of the sources and of the tags changed the archive")
	}
	second.Created = created.Add(time.Second)
	if bytes.Equal(a, written(t, second, "example.com/a:1", "example.com/b:2")) {
		t.Error("the time of the image did not change the archive: the comparison proves nothing")
	}
}

func TestLayer(t *testing.T) {
	content, err := layer(sample(t, t.TempDir(), created).Files, created)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Name, Link, Content string
		Mode                int64
		UID, GID            int
	}
	var got []entry
	for archive := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(created) {
			t.Errorf("%s has the time %s, want %s", header.Name, header.ModTime, created)
		}
		body, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{header.Name, header.Linkname, string(body), header.Mode, header.Uid, header.Gid})
	}
	want := []entry{
		{Name: "bin", Link: "usr/bin", Mode: 0o777},
		{Name: "data/", Mode: 0o700, UID: 7, GID: 8},
		{Name: "etc/", Mode: 0o755},
		{Name: "etc/name", Content: "sample", Mode: 0o644},
		{Name: "tmp/", Mode: 0o1777},
		{Name: "usr/", Mode: 0o755},
		{Name: "usr/bin/", Mode: 0o755},
		{Name: "usr/bin/program", Content: "a program", Mode: 0o755},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// TestEveryTagCanBeRead reads the archive with the library's own reader, which
// goes by manifest.json, and the index as containerd does.
func TestEveryTagCanBeRead(t *testing.T) {
	content := written(t, sample(t, t.TempDir(), created), "example.com/a:1", "example.com/b/c:2")
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	for _, tag := range []string{"example.com/a:1", "example.com/b/c:2"} {
		parsed, err := name.NewTag(tag)
		if err != nil {
			t.Fatal(err)
		}
		image, err := tarball.Image(open, &parsed)
		if err != nil {
			t.Fatalf("read %s: %v", tag, err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		want := v1.Config{
			User: "7:8", Entrypoint: []string{"/usr/bin/program"}, Env: []string{"A=b"}, WorkingDir: "/data",
			ExposedPorts: map[string]struct{}{"80/tcp": {}}, Labels: map[string]string{"l": "m"},
		}
		if diff := cmp.Diff(want, config.Config); diff != "" {
			t.Errorf("configuration of %s (-want +got):\n%s", tag, diff)
		}
		if config.OS != "linux" || config.Architecture != "amd64" || !config.Created.Equal(created) {
			t.Errorf("%s is for %s/%s of %s", tag, config.OS, config.Architecture, config.Created)
		}
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(entryOf(t, content, "index.json")))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, descriptor := range index.Manifests {
		names = append(names, descriptor.Annotations[nameAnnotation])
		if blob := entryOf(t, content, blob(descriptor.Digest)); int64(len(blob)) != descriptor.Size {
			t.Errorf("the manifest has %d bytes, the index says %d", len(blob), descriptor.Size)
		}
	}
	if diff := cmp.Diff([]string{"example.com/a:1", "example.com/b/c:2"}, names); diff != "" {
		t.Errorf("names in the index (-want +got):\n%s", diff)
	}
}

func entryOf(t *testing.T, content []byte, wanted string) []byte {
	t.Helper()
	for archive := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := archive.Next()
		if err != nil {
			t.Fatalf("find %s: %v", wanted, err)
		}
		if header.Name == wanted {
			body, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			return body
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name  string
		files []File
		tags  []string
		want  string
	}{
		{name: "no tag", want: "needs a tag"},
		{name: "bad tag", tags: []string{"A B"}, want: "read the tag"},
		{name: "tag without a registry", tags: []string{"a:1"}, want: "registry to be explicitly defined"},
		{name: "tag without a version", tags: []string{"example.com/a"}, want: "read the tag"},
		{name: "relative path", files: []File{{Path: "a"}}, want: "not a clean absolute path"},
		{name: "path that climbs", files: []File{{Path: "/a/../b"}}, want: "not a clean absolute path"},
		{name: "root", files: []File{{Path: "/"}}, want: "not a clean absolute path"},
		{name: "twice", files: []File{{Path: "/a"}, {Path: "/a"}}, want: "named twice"},
		{name: "below a file", files: []File{{Path: "/a/b"}, {Path: "/a"}}, want: "no folder"},
		{name: "no source", files: []File{{Path: "/a", Source: "/nowhere/at/all"}}, want: "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			image, err := Build(Image{Files: test.files, Architecture: "amd64"})
			if err == nil {
				err = Write(io.Discard, image, test.tags)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestWriteFileLeavesNothingHalf(t *testing.T) {
	dir := t.TempDir()
	image, err := Build(sample(t, t.TempDir(), created))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "new", "image.tar")
	if err := WriteFile(out, image, nil); err == nil {
		t.Error("an image without a tag was written")
	}
	if err := WriteFile(out, image, []string{"example.com/a:1"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(out))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "image.tar" {
		t.Errorf("the folder holds %v, want image.tar only", entries)
	}
}
