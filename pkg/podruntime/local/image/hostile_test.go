package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// Layers that are made to take much more than their entries: each is refused, by an error that names
// the entry.
func TestLayersThatTakeTooMuch(t *testing.T) {
	deep := strings.Repeat("d/", maxDepth+1)
	climb := strings.Repeat("d/", 300)
	tests := []struct {
		name  string
		layer v1.Layer
		err   error
		entry string
	}{
		{"directories that no entry names", layerOf(t, file(strings.Repeat("d/", 50)+"f", "")), ErrTooLarge, "d/d"},
		{"a path of a megabyte", layerOf(t, file(strings.Repeat("d/", 400_000)+"f", "")), ErrMalicious, "d/d"},
		{"deep directories", layerOf(t, dir(deep, 0o755)), ErrMalicious, "d/d"},
		{"deep directories through a link", layerOf(t, dir(climb, 0o755), symlink("l", climb), dir("l/"+climb, 0o755)), ErrMalicious, "l/d"},
		{"an owner of 33 bits", blob(paxEntry(map[string]string{"uid": "4294967296"})), ErrMalicious, "name"},
		{"no owner", blob(paxEntry(map[string]string{"gid": "-1"})), ErrMalicious, "name"},
		{"a root that is a file", layerOf(t, file(".", "x")), ErrMalicious, "."},
		{"half a gigabyte to decompress one byte", blob(hugeWindow), nil, "window"},
		{"a gzip bomb", blob(deflated(make([]byte, 16<<20))), ErrTooLarge, "layer"},
		{"a zstd bomb", blob(zstandard(make([]byte, 16<<20))), ErrTooLarge, "layer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			options := unpackOptions{bounds: bounds{bytes: 1 << 20, entries: 40}, keepOwners: os.Geteuid() == 0}
			if strings.HasPrefix(test.name, "deep") {
				options.bounds.entries = 4 * maxDepth
			}
			if strings.Contains(test.name, "owner") && !options.keepOwners {
				t.Skip("only root keeps owners")
			}
			root := filepath.Join(t.TempDir(), "rootfs")
			err := unpack(t.Context(), layers{test.layer}, root, options)
			if err == nil || !strings.Contains(err.Error(), test.entry) {
				t.Fatalf("error %.200v, want one that names %q", err, test.entry)
			}
			if test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("error %.200v, want %v", err, test.err)
			}
			if len(err.Error()) > 2*maxErrorBytes {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// However many opaque markers a layer has for a directory, the directory is read once: a second reading
// would remove what is put there behind the unpacking's back.
func TestOpaqueMarkersReadADirectoryOnce(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree := newTree(root, roomy())
	tree.nextLayer()
	write := func(name string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a/b"), 0o700), os.WriteFile(filepath.Join(dir, name), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	mark := func(name string) {
		t.Helper()
		if err := tree.entry(t.Context(), &tar.Header{Typeflag: tar.TypeReg, Name: name}, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
	}
	write("a/b/lower")
	write("a/lower")
	mark("a/b/fresh")
	mark("a/.wh..wh..opq")
	for _, name := range []string{"a/lower", "a/b/lower"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want it removed", name, err)
		}
	}
	write("a/b/behind")
	write("a/behind")
	mark("a/.wh..wh..opq")
	mark("a/b/.wh..wh..opq")
	for _, name := range []string{"a/behind", "a/b/behind", "a/b/fresh"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("a second marker removed %s: %v", name, err)
		}
	}
	tree.nextLayer()
	mark("a/b/.wh..wh..opq")
	if _, err := os.Stat(filepath.Join(dir, "a/b/fresh")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a marker of the next layer left what the last one made: %v", err)
	}
}

// layoutOf writes a layout of those documents, each under the digest that the key says, or its own.
func layoutOf(t *testing.T, index string, documents map[v1.Hash]string) string {
	t.Helper()
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := errors.Join(os.MkdirAll(blobs, 0o700), os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o600)); err != nil {
		t.Fatal(err)
	}
	for digest, text := range documents {
		if err := os.WriteFile(filepath.Join(blobs, digest.Hex), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func manyLayers(n int) string {
	return strings.Replace(seedImage, `"layers":[`, `"layers":[`+strings.Repeat(`{"digest":"`+lie.String()+`"},`, n), 1)
}

// An index that names itself ended the server, by a stack without bound. No document of a layout is
// taken for another, or decoded if it is very large.
func TestLayoutsThatTakeTooMuch(t *testing.T) {
	layer := string(fuzzLayer())
	config := resolved(seedConfig, "LAYER", hashOf([]byte(layer)).String())
	// name is how the index names a text.
	own := func(text string) v1.Hash { return hashOf([]byte(text)) }
	image := func(manifest string) string {
		return resolved(manifest, "CONFIG", own(config).String(), "LAYER", own(layer).String())
	}
	at := func(digest v1.Hash) string { return resolved(seedIndex, "MANIFEST", digest.String()) }
	itself := resolved(seedLie, "LIE", lie.String())
	chain := map[v1.Hash]string{own(image(seedImage)): image(seedImage), own(config): config}
	last := at(own(image(seedImage)))
	for range maxIndexes + 1 {
		chain[own(last)] = last
		last = resolved(seedOuter, "INDEX", own(last).String())
	}
	large := strings.Repeat(" ", maxDocumentBytes) + "{}"
	tests := []struct {
		name, index string
		documents   map[v1.Hash]string
		want        string
	}{
		{"an index that names itself", itself, map[v1.Hash]string{lie: itself}, "another digest"},
		{"indexes in a long chain", last, chain, "indexes on the way"},
		{"a forged manifest", at(lie), map[v1.Hash]string{lie: image(seedImage)}, "another digest"},
		{"a forged configuration", at(own(image(seedImage))), map[v1.Hash]string{own(image(seedImage)): image(seedImage), own(config): config + " "}, "another digest"},
		{"a large index", large, nil, "of more than 4194304 bytes"},
		{"a large manifest", at(own(large)), map[v1.Hash]string{own(large): large}, "of more than 4194304 bytes"},
		{"an index of many values", `{"manifests":[` + strings.Repeat(`{},`, maxDocumentValues) + `{}]}`, nil, "values"},
		{"many layers", at(own(image(manyLayers(maxLayers)))), map[v1.Hash]string{own(image(manyLayers(maxLayers))): image(manyLayers(maxLayers))}, "layers"},
		{"a large configuration", at(own(resolved(image(seedImage), `"size":300`, `"size":9999999`))),
			map[v1.Hash]string{own(resolved(image(seedImage), `"size":300`, `"size":9999999`)): resolved(image(seedImage), `"size":300`, `"size":9999999`)}, "configuration of 9999999 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := openLayout(layoutOf(t, test.index, test.documents), "")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mkfifo(filepath.Join(dir, "index.json"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openLayout(dir, ""); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("error %v", err)
		}
	})
}

func TestDockerArchivesThatTakeTooMuch(t *testing.T) {
	write := func(items ...item) string {
		path := filepath.Join(t.TempDir(), "docker.tar")
		content, err := layerOf(t, items...).Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(path)
		if err == nil {
			_, err = out.ReadFrom(content)
		}
		if err := errors.Join(err, out.Close()); err != nil {
			t.Fatal(err)
		}
		return path
	}
	chain := []item{file("manifest.json", strings.ReplaceAll(seedDocker, "config.json", "l0"))}
	for i := range maxArchiveOpens + 1 {
		chain = append(chain, symlink(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1)))
	}
	tests := []struct {
		name string
		path string
		want string
	}{
		{"a large configuration", write(file("manifest.json", seedDocker), file("config.json", strings.Repeat(" ", 4*maxDocumentBytes))), "too many bytes"},
		{"a large manifest", write(file("manifest.json", strings.Repeat(" ", 4*maxDocumentBytes))), "too many bytes"},
		{"a long chain of links", write(chain...), "too many"},
		{"a configuration of many layers", write(file("manifest.json", seedDocker), file("layer.tar", ""),
			file("config.json", strings.ReplaceAll(seedConfig, `["LAYER"]`, `[`+strings.Repeat(`"`+lie.String()+`",`, maxLayers)+`"`+lie.String()+`"]`))), "layers"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := openDocker(t.Context(), Reference{Kind: DockerArchive, Path: test.path})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
}

func TestRegistriesThatAnswerTooMuch(t *testing.T) {
	oci := string(types.OCIManifestSchema1)
	tests := []struct {
		name string
		from answers
		want string
	}{
		{"a large manifest", answers{manifest: []byte(strings.Repeat(" ", maxDocumentBytes) + "{}"), mediaType: oci}, "of more than 4194304 bytes"},
		{"a manifest of many values", answers{manifest: []byte(`{"layers":[` + strings.Repeat("{},", maxDocumentValues) + `{}]}`), mediaType: oci}, "values"},
		{"a manifest with a large configuration", answers{manifest: []byte(strings.ReplaceAll(resolved(seedImage, "CONFIG", lie.String(), "LAYER", lie.String()),
			`"size":300`, `"size":9999999999`)), mediaType: oci}, "configuration of 9999999999 bytes"},
		{"many layers", answers{manifest: []byte(resolved(manyLayers(maxLayers), "CONFIG", lie.String(), "LAYER", lie.String())), mediaType: oci}, "layers"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := &Store{config: Config{Keychain: authn.NewMultiKeychain(), Transport: test.from}}
			_, err := store.openRemote(t.Context(), parse(t, "registry.test/image:v1").Remote)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
	// A manifest that a registry keeps elsewhere is one all the same.
	first := &http.Request{Method: http.MethodGet, URL: parseURL(t, "https://registry.test/v2/a/manifests/v1")}
	second := &http.Request{Method: http.MethodGet, URL: parseURL(t, "https://elsewhere.test/x"), Response: &http.Response{Request: first}}
	if !asksForManifest(second) {
		t.Error("a redirected request for a manifest is not taken for one")
	}
}

func parseURL(t *testing.T, text string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
