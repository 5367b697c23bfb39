package image

import (
	"strings"
	"testing"
)

// openWith opens a store that has mirrors.
func openWith(t *testing.T, mirrors ...string) *Store {
	t.Helper()
	parsed, err := ParseMirrors(mirrors)
	if err != nil {
		t.Fatal(err)
	}
	store, err := Open(Config{Dir: t.TempDir(), Mirrors: parsed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func TestMirror(t *testing.T) {
	mirror, _ := serve(t)
	origin, _ := serve(t)
	only := imageOf(t, layerOf(t, file("from", "the mirror")))
	digest, err := only.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push(t, mirror+"/library/python:3.9-slim", only)
	push(t, mirror+"/team/both:v1", imageOf(t, layerOf(t, file("from", "the mirror"))))
	push(t, origin+"/team/both:v1", imageOf(t, layerOf(t, file("from", "the registry"))))
	push(t, origin+"/team/own:v1", imageOf(t, layerOf(t, file("from", "the registry"))))

	tests := []struct {
		name, mirrored, ref, want string
	}{
		{"short name", "docker.io", "python:3.9-slim", "the mirror"},
		{"digest", "docker.io", "python@" + digest.String(), "the mirror"},
		{"long name", "index.docker.io", "docker.io/library/python:3.9-slim", "the mirror"},
		{"mirror first", origin, origin + "/team/both:v1", "the mirror"},
		{"not at the mirror", origin, origin + "/team/own:v1", "the registry"},
		{"mirror of another", "ghcr.io", origin + "/team/both:v1", "the registry"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := openWith(t, test.mirrored+"=http://"+mirror)
			image, err := store.Get(t.Context(), parse(t, test.ref), "")
			if err != nil {
				t.Fatal(err)
			}
			if got := content(t, image, "from"); got != test.want {
				t.Errorf("from %q, want %q", got, test.want)
			}
		})
	}
	t.Run("nowhere", func(t *testing.T) {
		store := openWith(t, origin+"=http://"+mirror)
		_, err := store.Get(t.Context(), parse(t, origin+"/none:v1"), "")
		for _, part := range []string{"the mirror " + mirror, "the registry " + origin, "NAME_UNKNOWN"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("got %v, want %q in it", err, part)
			}
		}
	})
}

func TestParseMirrorsRefuses(t *testing.T) {
	tests := []struct {
		name, want string
		texts      []string
	}{
		{"no URL", "must be REGISTRY=URL", []string{"docker.io"}},
		{"no registry", "is no registry", []string{"=http://localhost"}},
		{"registry with a path", "is no registry", []string{"docker.io/library=http://localhost"}},
		{"no scheme", "begins with https:// or http://", []string{"docker.io=localhost:5000"}},
		{"other scheme", "begins with https:// or http://", []string{"docker.io=ftp://localhost"}},
		{"path", "and nothing else", []string{"docker.io=https://localhost/v2"}},
		{"twice", "has a mirror already", []string{"docker.io=https://a", "index.docker.io=https://b"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseMirrors(test.texts)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}
