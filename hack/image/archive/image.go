package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one entry of an image. Folders above it that are not entries
// themselves are made, owned by root, with mode 0755.
type File struct {
	// Path is absolute, in the image.
	Path string
	// Source is the file on this machine whose content is taken. If it is
	// empty, Content is.
	Source string
	// Content is that of a file without Source.
	Content []byte
	// Mode holds the permission bits, and fs.ModeDir for a folder, fs.ModeSymlink
	// for a link and fs.ModeSticky.
	Mode fs.FileMode
	// Link is what a symbolic link points at.
	Link string
	// UID and GID own the entry.
	UID, GID int
}

// Image says what an image holds and how it is run.
type Image struct {
	Files []File
	// Architecture is Go's name of it, such as amd64. The system is always linux.
	Architecture string
	// Created is the time of the image and of each file in it, in whole seconds.
	Created time.Time

	User         string
	Entrypoint   []string
	Cmd          []string
	Env          []string
	WorkingDir   string
	ExposedPorts []string
	Labels       map[string]string
}

// Build makes the image, as one layer on nothing. An unreadable source and two
// entries with one path are errors.
func Build(spec Image) (v1.Image, error) {
	content, err := layer(spec.Files, spec.Created)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("compress the layer: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: spec.Created.UTC()}, CreatedBy: "arl.io/arl/hack/image"},
	})
	if err != nil {
		return nil, fmt.Errorf("append the layer: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", spec.Architecture
	config.Created = v1.Time{Time: spec.Created.UTC()}
	config.Config = v1.Config{
		User: spec.User, Entrypoint: spec.Entrypoint, Cmd: spec.Cmd, Env: spec.Env,
		WorkingDir: spec.WorkingDir, ExposedPorts: ports(spec.ExposedPorts), Labels: spec.Labels,
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("set the configuration: %w", err)
	}
	return image, nil
}

func ports(list []string) map[string]struct{} {
	if len(list) == 0 {
		return nil
	}
	set := map[string]struct{}{}
	for _, port := range list {
		set[port] = struct{}{}
	}
	return set
}

// layer is the files as a tar archive, sorted by path.
func layer(files []File, created time.Time) ([]byte, error) {
	files, err := complete(files)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, file := range files {
		if err := add(archive, file, created); err != nil {
			return nil, fmt.Errorf("add %s: %w", file.Path, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("end the layer: %w", err)
	}
	return out.Bytes(), nil
}

// complete adds the folders that are missing above the files, and sorts all.
func complete(files []File) ([]File, error) {
	known := map[string]File{}
	for _, file := range files {
		if !path.IsAbs(file.Path) || path.Clean(file.Path) != file.Path || file.Path == "/" {
			return nil, fmt.Errorf("%q is not a clean absolute path below the root", file.Path)
		}
		if _, twice := known[file.Path]; twice {
			return nil, fmt.Errorf("%s is named twice", file.Path)
		}
		known[file.Path] = file
	}
	for _, file := range files {
		for dir := path.Dir(file.Path); dir != "/"; dir = path.Dir(dir) {
			above, ok := known[dir]
			if ok && !above.Mode.IsDir() {
				return nil, fmt.Errorf("%s is below %s, which is no folder", file.Path, dir)
			}
			if !ok {
				known[dir] = File{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	all := make([]File, 0, len(known))
	for _, file := range known {
		all = append(all, file)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

func add(archive *tar.Writer, file File, created time.Time) error {
	header := &tar.Header{
		Name: strings.TrimPrefix(file.Path, "/"), Mode: int64(file.Mode.Perm()),
		Uid: file.UID, Gid: file.GID, ModTime: created.UTC().Truncate(time.Second), Format: tar.FormatPAX,
	}
	if file.Mode&fs.ModeSticky != 0 {
		header.Mode |= 0o1000
	}
	switch {
	case file.Mode.IsDir():
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
	case file.Mode&fs.ModeSymlink != 0:
		header.Typeflag, header.Linkname = tar.TypeSymlink, file.Link
	default:
		header.Typeflag = tar.TypeReg
		if file.Source != "" {
			content, err := os.ReadFile(file.Source)
			if err != nil {
				return err
			}
			file.Content = content
		}
		header.Size = int64(len(file.Content))
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := archive.Write(file.Content)
	return err
}
