package archive

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// refAnnotation is where the OCI layout keeps a tag.
	refAnnotation = "org.opencontainers.image.ref.name"
	// nameAnnotation is where containerd looks for the whole name of an image.
	nameAnnotation = "io.containerd.image.name"
)

// WriteFile writes the archive to a file, which is there whole or not at all.
func WriteFile(file string, image v1.Image, tags []string) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make the folder of the archive: %w", err)
	}
	out, err := os.CreateTemp(filepath.Dir(file), ".image-*")
	if err != nil {
		return fmt.Errorf("create the archive: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	if err := errors.Join(Write(out, image, tags), out.Chmod(0o644), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), file)
}

// Write writes the image, under every one of its tags, as an OCI image layout
// in a tar archive. It also holds the manifest.json of "docker save", so that
// older programs read it too. An image without a tag is an error.
func Write(out io.Writer, image v1.Image, tags []string) error {
	names, err := parse(tags)
	if err != nil {
		return err
	}
	files, manifest, err := blobs(image)
	if err != nil {
		return err
	}
	index, err := indexOf(image, names)
	if err != nil {
		return err
	}
	manifest.RepoTags = names
	for file, value := range map[string]any{
		"oci-layout":    map[string]string{"imageLayoutVersion": "1.0.0"},
		"index.json":    index,
		"manifest.json": []dockerManifest{manifest},
	} {
		if files[file], err = json.Marshal(value); err != nil {
			return fmt.Errorf("encode %s: %w", file, err)
		}
	}
	return pack(out, files)
}

// dockerManifest is one entry of the manifest.json of "docker save".
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// parse returns the whole names of the tags, sorted and each once.
func parse(tags []string) ([]string, error) {
	if len(tags) == 0 {
		return nil, errors.New("an image needs a tag")
	}
	var names []string
	for _, tag := range tags {
		parsed, err := name.NewTag(tag, name.StrictValidation)
		if err != nil {
			return nil, fmt.Errorf("read the tag: %w", err)
		}
		names = append(names, parsed.Name())
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// blobs returns the content-addressed files of an image, by their name in the archive.
func blobs(image v1.Image) (map[string][]byte, dockerManifest, error) {
	var docker dockerManifest
	raw, err := image.RawManifest()
	if err != nil {
		return nil, docker, fmt.Errorf("read the manifest: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, docker, fmt.Errorf("digest the manifest: %w", err)
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return nil, docker, fmt.Errorf("read the configuration: %w", err)
	}
	configName, err := image.ConfigName()
	if err != nil {
		return nil, docker, fmt.Errorf("digest the configuration: %w", err)
	}
	docker.Config = blob(configName)
	files := map[string][]byte{blob(digest): raw, blob(configName): config}
	layers, err := image.Layers()
	if err != nil {
		return nil, docker, fmt.Errorf("read the layers: %w", err)
	}
	for _, layer := range layers {
		file, content, err := compressed(layer)
		if err != nil {
			return nil, docker, fmt.Errorf("read a layer: %w", err)
		}
		files[file] = content
		docker.Layers = append(docker.Layers, file)
	}
	return files, docker, nil
}

func compressed(layer v1.Layer) (file string, content []byte, err error) {
	digest, err := layer.Digest()
	if err != nil {
		return "", nil, err
	}
	reader, err := layer.Compressed()
	if err != nil {
		return "", nil, err
	}
	content, err = io.ReadAll(reader)
	return blob(digest), content, errors.Join(err, reader.Close())
}

func blob(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

// indexOf names the image once for each of its tags.
func indexOf(image v1.Image, names []string) (*v1.IndexManifest, error) {
	raw, err := image.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, fmt.Errorf("digest the manifest: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	index := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, full := range names {
		index.Manifests = append(index.Manifests, v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Digest: digest,
			Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture},
			Annotations: map[string]string{
				nameAnnotation: full, refAnnotation: full[strings.LastIndex(full, ":")+1:],
			},
		})
	}
	return index, nil
}

// pack writes files, sorted and without a time, as a tar archive.
func pack(out io.Writer, files map[string][]byte) error {
	var names []string
	for file := range files {
		names = append(names, file)
	}
	slices.Sort(names)
	archive := tar.NewWriter(out)
	for _, file := range names {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: file, Mode: 0o644, Size: int64(len(files[file])),
			ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
		if _, err := archive.Write(files[file]); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	return nil
}
