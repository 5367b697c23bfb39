package image

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Mirrors are registries that are asked in place of others, by the host of the
// registry that an image names. The zero value has none.
type Mirrors map[string]mirror

// mirror is a registry that holds images of another under the same names.
type mirror struct {
	host string
	// plain: it is spoken to without TLS.
	plain bool
}

// ParseMirrors reads mirrors of the form REGISTRY=URL, such as
// docker.io=https://mirror.example.org; http:// means without TLS.
func ParseMirrors(texts []string) (Mirrors, error) {
	mirrors := Mirrors{}
	for _, text := range texts {
		host, target, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%q must be REGISTRY=URL, for instance docker.io=https://mirror.example.org", text)
		}
		registry, err := name.NewRegistry(host)
		if err != nil || host == "" {
			return nil, fmt.Errorf("%q: %q is no registry such as docker.io or ghcr.io", text, host)
		}
		location, err := url.Parse(target)
		if err != nil || location.Host == "" || (location.Scheme != "http" && location.Scheme != "https") {
			return nil, fmt.Errorf("%q: the mirror must be a URL that begins with https:// or http://", text)
		}
		// The names of images follow the host at once, so a path would be ignored.
		if strings.Trim(location.Path, "/") != "" || location.RawQuery != "" || location.User != nil {
			return nil, fmt.Errorf("%q: the mirror's URL must have a host, and a port if need be, and nothing else", text)
		}
		if _, ok := mirrors[registry.RegistryStr()]; ok {
			return nil, fmt.Errorf("%q: %s has a mirror already; one is the most", text, host)
		}
		mirrors[registry.RegistryStr()] = mirror{host: location.Host, plain: location.Scheme == "http"}
	}
	return mirrors, nil
}

// of returns what ref is called at the mirror of its registry, if there is one.
func (m Mirrors) of(ref name.Reference) (name.Reference, bool, error) {
	mirror, ok := m[ref.Context().RegistryStr()]
	if !ok {
		return nil, false, nil
	}
	separator := ":"
	if _, digest := ref.(name.Digest); digest {
		separator = "@"
	}
	options := []name.Option{name.StrictValidation}
	if mirror.plain {
		options = append(options, name.Insecure)
	}
	there, err := name.ParseReference(mirror.host+"/"+ref.Context().RepositoryStr()+separator+ref.Identifier(), options...)
	if err != nil {
		return nil, false, fmt.Errorf("naming %s at its mirror: %w", ref, err)
	}
	return there, true, nil
}

// openRemote returns an image of a registry, from its mirror if there is one
// that has it, and else from the registry itself.
func (s *Store) openRemote(ctx context.Context, ref name.Reference) (v1.Image, error) {
	get := func(ref name.Reference) (v1.Image, error) {
		image, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(s.config.Keychain),
			remote.WithTransport(documentTransport{s.config.Transport}), remote.WithPlatform(platform()))
		if err != nil {
			return nil, err
		}
		manifest, err := image.Manifest()
		if err == nil {
			err = checkManifest(manifest)
		}
		return image, err
	}
	there, ok, err := s.config.Mirrors.of(ref)
	if err != nil {
		return nil, err
	}
	if !ok {
		return get(ref)
	}
	image, mirrorErr := get(there)
	if mirrorErr == nil {
		return image, nil
	}
	if image, err = get(ref); err != nil {
		return nil, errors.Join(
			fmt.Errorf("the mirror %s: %w", there.Context().RegistryStr(), shorten(mirrorErr)),
			fmt.Errorf("the registry %s: %w", ref.Context().RegistryStr(), shorten(err)))
	}
	return image, nil
}
