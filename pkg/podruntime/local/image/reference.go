package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Kind is where an image comes from.
type Kind string

// Kinds of a Reference. All but Registry are the prefix of the reference, up
// to the first colon.
const (
	Registry      Kind = "registry"
	OCIArchive    Kind = "oci-archive"
	OCILayout     Kind = "oci"
	DockerArchive Kind = "docker-archive"
)

// Reference names an image.
type Reference struct {
	Kind Kind
	// Text is the reference as written.
	Text string
	// Path is the absolute file or folder; empty for a registry.
	Path string
	// Tag picks one of several images of a file or folder; empty if there is one only.
	Tag string
	// Remote is set for a registry.
	Remote name.Reference
}

// Parse reads a reference: registry/repository:tag or @digest, or
// oci-archive:/file[:tag], oci:/folder[:tag], docker-archive:/file[:tag].
// Registries of which insecure holds the host are spoken to without TLS.
func Parse(text string, insecure []string) (Reference, error) {
	if text == "" {
		return Reference{}, errors.New("no image is named")
	}
	prefix, rest, _ := strings.Cut(text, ":")
	switch kind := Kind(prefix); kind {
	case OCIArchive, OCILayout, DockerArchive:
		path, tag := splitTag(rest)
		if !filepath.IsAbs(path) {
			return Reference{}, fmt.Errorf("%q: %s: needs an absolute path", text, prefix)
		}
		return Reference{Kind: kind, Text: text, Path: filepath.Clean(path), Tag: tag}, nil
	}
	remote, err := name.ParseReference(text)
	if err != nil {
		return Reference{}, fmt.Errorf("%q is no image reference: %w", text, err)
	}
	if slices.Contains(insecure, remote.Context().RegistryStr()) {
		if remote, err = name.ParseReference(text, name.Insecure); err != nil {
			return Reference{}, fmt.Errorf("%q is no image reference: %w", text, err)
		}
	}
	return Reference{Kind: Registry, Text: text, Remote: remote}, nil
}

// splitTag takes a tag off a path. A file that is there under the whole name wins.
func splitTag(rest string) (path, tag string) {
	if _, err := os.Stat(rest); err == nil {
		return rest, ""
	}
	slash := strings.LastIndex(rest, "/")
	// A docker tag may hold slashes and a second colon, so the path ends at
	// the first colon after which no folder of that name is there.
	for i := 0; i < len(rest); i++ {
		if rest[i] != ':' {
			continue
		}
		if _, err := os.Stat(rest[:i]); err == nil || i > slash {
			return rest[:i], rest[i+1:]
		}
	}
	return rest, ""
}

// Floating says that the reference may name another image tomorrow and is not
// even meant to be stable: no tag, or the tag latest. It decides the pull
// policy where none is given, as in Kubernetes.
func (r Reference) Floating() bool {
	tag, ok := r.Remote.(name.Tag)
	return ok && tag.TagStr() == name.DefaultTag
}
